"""The page at /docs: every request of the OpenAPI description, to read and to try.

Swagger UI is sent from here. The framework's own page loads it from servers elsewhere: their scripts would run beside patients'
data, and hospital networks often do not reach them.
"""

import asyncio
from importlib.resources import files

from fastapi import APIRouter, Request
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import Response

from app.errors import NotFound

router = APIRouter(include_in_schema=False)

_MEDIA_TYPES = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon-32x32.png": "image/png",
}
# Swagger UI is started by a few lines in the page, and draws with styles and small images of its own.
_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
    " connect-src 'self'; frame-ancestors 'none'"
)


@router.get("/docs", name="reference")
async def reference(request: Request) -> Response:
    """The page. What it loads is named relative to it, for proxies that put a path in front."""
    page = get_swagger_ui_html(
        openapi_url="openapi.json",
        title="Gantry: every request",
        swagger_js_url="docs/swagger-ui-bundle.js",
        swagger_css_url="docs/swagger-ui.css",
        swagger_favicon_url="docs/favicon-32x32.png",
    )
    page.headers["Content-Security-Policy"] = _POLICY
    page.headers["Cache-Control"] = "no-cache"
    return page


@router.get("/docs/{name}", name="reference_file")
async def reference_file(request: Request) -> Response:
    """A file of Swagger UI. Raises NotFound."""
    name = request.path_params["name"]
    if name not in _MEDIA_TYPES:
        raise NotFound("there is no such page")
    body = await asyncio.to_thread(files("fastapi_swagger.resources").joinpath(name).read_bytes)
    return Response(body, media_type=_MEDIA_TYPES[name], headers={"Cache-Control": "max-age=3600"})
