"""The page at the server's root: for people who open its address in a browser and wonder what is there."""

from html import escape

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response

from app import __version__
from app.api.dependencies import service_url
from app.dicomweb.urls import DICOMWEB_PREFIX

router = APIRouter(include_in_schema=False)

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Gantry</title>
<style>
  body {{ font: 1rem/1.6 system-ui, sans-serif; max-width: 42rem; margin: 4rem auto; padding: 0 1rem; color: #1b2733 }}
  h1 {{ margin-bottom: 0 }} code {{ background: #eef2f5; padding: .1em .35em; border-radius: .25em }}
  dt {{ font-weight: 600; margin-top: .8em }} dd {{ margin: 0 }} a {{ color: #0b5cad }}
  @media (prefers-color-scheme: dark) {{
    body {{ background: #10161c; color: #d8e1e8 }} code {{ background: #1d2730 }} a {{ color: #7cb7f2 }} }}
</style></head><body>
<h1>Gantry</h1><p>A DICOMweb server, version {version}.</p>
<dl>
  <dt>DICOMweb root, for viewers and scripts</dt><dd><code>{url}</code></dd>
  <dt>Studies</dt><dd><a href="{url}/studies?limit=25">the first 25</a>, as DICOM JSON</dd>
  <dt>Interface</dt><dd><a href="{root}/docs">every request, to read and to try</a></dd>
  <dt>State</dt><dd><a href="{root}/readyz">readiness</a> · <a href="{root}/metrics">metrics</a></dd>
</dl>
<p>Store a folder: <code>gantry import FOLDER --url {url}</code></p>
</body></html>
"""


@router.get("/", name="home")
async def home(request: Request) -> Response:
    """Where everything is."""
    url = escape(service_url(request))
    page = _PAGE.format(version=escape(__version__), url=url, root=url.removesuffix(DICOMWEB_PREFIX))
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return HTMLResponse(page, headers={"Content-Security-Policy": policy, "Cache-Control": "no-cache"})
