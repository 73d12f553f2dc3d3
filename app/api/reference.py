"""The page at /docs: every request of the OpenAPI description, for people to read.

It is made here, as the framework's own page loads scripts from servers elsewhere: they would run beside patients' data, and
hospital networks often do not reach them.
"""

from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response

router = APIRouter(include_in_schema=False)

_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Gantry: every request</title>
<style>
  body { font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1b2733 }
  summary { cursor: pointer; margin: .4em 0; overflow-wrap: anywhere } details > *:not(summary) { margin-left: 1.2rem }
  code { background: #eef2f5; padding: .1em .35em; border-radius: .25em } a { color: #0b5cad }
  th { text-align: left; vertical-align: top; padding-right: 1.5em; font-weight: normal } td { vertical-align: top }
  @media (prefers-color-scheme: dark) {
    body { background: #10161c; color: #d8e1e8 } code { background: #1d2730 } a { color: #7cb7f2 } }
</style></head><body>
<h1>Every request</h1>
<p>The same for programs: <a href="openapi.json">openapi.json</a></p>
"""


@router.get("/docs", name="reference")
async def reference(request: Request) -> Response:
    """The page, which loads nothing."""
    page = _HEAD + "".join(_sections(request.app.openapi())) + "</body></html>\n"
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return HTMLResponse(page, headers={"Content-Security-Policy": policy, "Cache-Control": "no-cache"})


def _sections(description: Mapping[str, Any]) -> Iterator[str]:
    """One section a tag, in the order of the description."""
    sections: dict[str, list[str]] = {}
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            entry = "".join(_operation(f"{method.upper()} {path}", operation))
            sections.setdefault(operation["tags"][0], []).append(entry)
    for tag, entries in sections.items():
        yield f"<h2>{escape(tag)}</h2>\n{''.join(entries)}"


def _operation(request_line: str, operation: Mapping[str, Any]) -> Iterator[str]:
    text = operation.get("description", "")
    yield f"<details><summary><code>{escape(request_line)}</code> {escape(operation['summary'])}</summary>\n"
    yield "".join(f"<p>{escape(paragraph)}</p>\n" for paragraph in text.split("\n\n"))
    yield _table("Parameters", ((one["name"], one["description"]) for one in operation.get("parameters", ())))
    bodies = operation.get("requestBody", {}).get("content", ())
    yield _table("Bodies", ((media_type, "") for media_type in bodies))
    yield _table("Answers", map(_answer, operation["responses"].items()))
    yield "</details>\n"


def _answer(item: tuple[str, Mapping[str, Any]]) -> tuple[str, str]:
    status, answer = item
    media_types = ", ".join(answer.get("content", ()))
    return status, f"{answer['description']} {media_types}".strip()


def _table(title: str, rows: Iterable[tuple[str, str]]) -> str:
    lines = "".join(f"<tr><th><code>{escape(name)}</code></th><td>{escape(text)}</td></tr>\n" for name, text in rows)
    return f"<h4>{title}</h4>\n<table>\n{lines}</table>\n" if lines else ""
