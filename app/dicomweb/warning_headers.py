"""`Warning: 299` headers (PS3.18 8.3.4, RFC 7234 5.5). The Standard's texts are given letter for letter."""

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

# Ours: 8.3.5.1.1 does not say what becomes of characters that cannot be drawn.
ILLEGIBLE_ANNOTATION = "Characters of the annotation cannot be drawn. They are shown as boxes."

MAX_TEXT = 500
_UNPRINTABLE = re.compile(r"[^ -~]+")


def additional_results(remaining: int) -> str:
    """8.3.4.4.1: more matches than were returned."""
    return f"There are {remaining} additional results that can be requested"


def unsupported_annotations(values: Iterable[str]) -> str:
    """8.3.5.1.1: unknown words of the annotation parameter."""
    return f"The following annotation values are not supported: {', '.join(values)}"


def warning_header(service_url: str, text: str) -> str:
    """The value of one Warning header.

    The agent is the host of the service, the text a quoted string: that is RFC 7234, and what PS3.18 shows without its
    quotation marks. Whatever a stranger's text holds, the result is one line of ASCII.
    """
    agent = urlsplit(service_url).netloc.rpartition("@")[2] or "-"
    text = _UNPRINTABLE.sub("?", text[:MAX_TEXT]).replace("\\", "\\\\").replace('"', '\\"')
    return f'299 {_UNPRINTABLE.sub("?", agent)} "{text}"'


def warning_headers(service_url: str, texts: Iterable[str]) -> list[str]:
    """One header value per text, repetitions left out."""
    return [warning_header(service_url, text) for text in dict.fromkeys(texts)]
