"""Structured reports and key object selections as HTML and as plain text (PS3.18 Table 8.7.4-1).

Every text of the report passes through one function that escapes it: what a stranger stored is shown, never interpreted.
"""

import html
import re
from collections.abc import Iterator, Mapping

from app.dicom.instance import DicomJson
from app.dicom.rendering.sr_content import ContentItem, read_report

# Neither HTML nor a terminal has a use for them; among them what turns the direction of text.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
_MAX_HEADING = 6
_STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#111;background:#fff}"
    "table{border-collapse:collapse}th{text-align:left;font-weight:normal;color:#555;padding-right:1.5em}"
    "td{padding:0}ul{list-style:none;padding-left:1.5em}li{margin:.2em 0}.name{color:#555}.value{white-space:pre-wrap}"
)


def sr_to_html(attributes: DicomJson, bulk: Mapping[str, bytes] | None = None) -> str:
    """A whole HTML document, without scripts, links or anything from elsewhere. Raises TooLarge.

    bulk  the values of `sr_bulkdata`
    """
    report = read_report(attributes, bulk)
    title = _escaped(report.title)
    parts = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n",
    ]
    if report.facts:
        rows = "".join(
            f"<tr><th>{_escaped(label)}</th><td>{_escaped(value)}</td></tr>\n" for label, value in report.facts
        )
        parts.append(f"<table>\n{rows}</table>\n")
    if report.root is not None and report.root.children:
        parts.append("<ul>\n")
        for item in report.root.children:
            parts.extend(_html_item(item, 2))
        parts.append("</ul>\n")
    parts.append("</body>\n</html>\n")
    return "".join(parts)


def sr_to_text(attributes: DicomJson, bulk: Mapping[str, bytes] | None = None) -> str:
    """Plain text, indented by level; LF at the ends of lines. Raises TooLarge."""
    report = read_report(attributes, bulk)
    title = _printable(report.title)
    lines = [title, "=" * min(len(title), 78), ""]
    lines += [f"{_printable(label)}: {_one_line(value)}" for label, value in report.facts]
    if report.root is not None:
        lines.append("")
        for item in report.root.children:
            lines.extend(_text_item(item, 0))
    return "\n".join(lines).rstrip("\n") + "\n"


def _html_item(item: ContentItem, level: int) -> Iterator[str]:
    name = _escaped(item.name)
    yield f'<li id="item-{item.number}">'
    if item.children and not item.value and level <= _MAX_HEADING:
        yield f"<h{level}>{name or _escaped(item.relation)}</h{level}>"
    else:
        yield f'<span class="name">{name}{": " if name and item.value else ""}</span>'
    if item.value:
        yield f'<span class="value">{_escaped(item.value)}</span>'
    if item.children:
        yield "\n<ul>\n"
        for child in item.children:
            yield from _html_item(child, level + 1)
        yield "</ul>\n"
    yield "</li>\n"


def _text_item(item: ContentItem, level: int) -> Iterator[str]:
    indent = "  " * level
    first, *others = _printable(item.value).splitlines() or [""]
    name = _one_line(item.name)
    yield f"{indent}{name}{': ' if name and first else ''}{first}".rstrip() or f"{indent}-"
    yield from (f"{indent}  {line}".rstrip() for line in others)
    for child in item.children:
        yield from _text_item(child, level + 1)


def _escaped(text: str) -> str:
    return html.escape(_printable(text), quote=True)


def _printable(text: str) -> str:
    return _UNPRINTABLE.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def _one_line(text: str) -> str:
    return " ".join(_printable(text).split())
