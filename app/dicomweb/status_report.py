"""Status reports: the body of a 4xx or 5xx answer says what is wrong and whether trying again can help (PS3.18 8.5, 8.6.3)."""

from dataclasses import dataclass
from html import escape
from http import HTTPStatus

import orjson

from app.dicomweb.media_types import parse_accept

HTML, PLAIN, PROBLEM = "text/html", "text/plain", "application/problem+json"

# Which report an acceptable type leads to; application/problem+json is RFC 9457.
_REPORT_OF = {
    HTML: HTML,
    "text/*": HTML,
    "*/*": HTML,
    "application/xhtml+xml": HTML,
    PLAIN: PLAIN,
    PROBLEM: PROBLEM,
    "application/json": PROBLEM,
    "application/*": PROBLEM,
}


@dataclass(frozen=True, slots=True)
class StatusReport:
    """`content_type` with its charset, `body` in it."""

    content_type: str
    body: bytes


def status_report(status: int, explanation: str, *, accept: str | None = None, temporary: bool = False) -> StatusReport:
    """The report of a failure, in the best acceptable of HTML, plain text and problem JSON.

    HTML is the default of PS3.18 8.6.3 and stands in when the client accepts none of them. `explanation` may quote what a
    stranger sent: it is escaped here. `temporary` = the same request may succeed later.
    """
    title = _title(status)
    lasting = "temporary: the same request may succeed later" if temporary else "permanent: the request must change"
    media_type = _best(accept)
    if media_type == PROBLEM:
        problem = {"type": "about:blank", "title": title, "status": status, "detail": _text(explanation)}
        return StatusReport(PROBLEM, orjson.dumps(problem | {"temporary": temporary}))
    facts = [f"{status} {title}", _text(explanation), f"This failure is {lasting}."]
    if media_type == PLAIN:
        return StatusReport("text/plain; charset=utf-8", "".join(f"{fact}\n" for fact in facts).encode())
    heading, *rest = (escape(fact) for fact in facts)
    paragraphs = "".join(f"<p>{fact}</p>" for fact in rest)
    page = f'<!doctype html><html lang="en"><head><title>{heading}</title></head><body><h1>{heading}</h1>{paragraphs}</body></html>'
    return StatusReport("text/html; charset=utf-8", page.encode())


def _title(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Failure"


def _text(text: str) -> str:
    # Lone surrogates come from undecodable input and cannot be encoded again.
    return text.encode("utf-8", "replace").decode("utf-8")


def _best(accept: str | None) -> str:
    best, best_rank = HTML, (0.0, 1)  # what is refused (q=0) ranks no higher
    for entry in parse_accept(accept or ""):
        report = _REPORT_OF.get(entry.media_type.essence)
        rank = (entry.q, 0 if entry.media_type.subtype == "*" else 1)
        if report is not None and rank > best_rank:
            best, best_rank = report, rank
    return best
