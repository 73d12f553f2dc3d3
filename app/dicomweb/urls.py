"""The absolute URLs that answers name, as the client sees them (PS3.18 8.2).

BulkDataURI, RetrieveURL and Content-Location must work where the client is: behind a proxy that ends TLS, renames the host
or adds a path prefix. So the base is, in this order: the URL that the operator configured; what a trusted proxy says in
Forwarded (RFC 7239) or X-Forwarded-*; the request itself.
"""

import re
from collections.abc import Mapping
from functools import lru_cache

from app.dicom.references import Reference, resource_path

DICOMWEB_PREFIX = "/dicomweb"  # of the service below the server's root
# What `service_url` looks at, in lower case.
HEADERS_OF_THE_BASE = (
    "host",
    "forwarded",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
)
DEFAULT_PORTS = {"http": "80", "https": "443"}

# RFC 3986 3.2.2 and 3.2.3: a registered name, an IPv4 address or an IPv6 address in brackets, then perhaps a port.
_HOST = re.compile(r"(?:[A-Za-z0-9._~-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_LOOPBACK = frozenset({"127.0.0.1", "[::1]"})
_LONGEST_HOST = 260  # longer ones are none, and are not remembered
# RFC 3986 3.3: segments of unreserved characters and a few sub-delimiters; nothing a header or a page could trip over.
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~!$+=:@%-]+)*")
# RFC 7239 4: pairs of token and token or quoted string, joined by semicolons; hops are joined by commas.
_FORWARDED_PAIR = re.compile(r'\s*+([A-Za-z]++)\s*+=\s*+(?:"([^"\\]*+)"|([^";,\s]++))\s*+')


def service_url(
    headers: Mapping[str, str],
    *,
    scheme: str,
    host: str,
    path: str,
    public_url: str | None = None,
    trust_forwarded: bool = True,
) -> str:
    """The base URL of the service, without a slash at its end, e.g. `https://pacs.example/dicomweb`.

    headers     of the request, by lower-case name
    scheme      of the connection; `host` is where it was accepted, for requests whose Host header is missing, unusable or
                that address without its port
    path        of the service below the server's root, e.g. `/dicomweb`
    public_url  the configured URL of that root as clients see it: wins over everything
    A forwarded value that is not what its grammar says is passed over, never echoed.
    """
    if public_url:
        return public_url.rstrip("/") + path
    authority = headers.get("host", "")
    if not trust_forwarded:
        return _url_of(scheme, authority if len(authority) <= _LONGEST_HOST else "", host, path)
    scheme, authority, prefix = _forwarded(headers, scheme, authority if _HOST.fullmatch(authority) else host)
    return f"{scheme}://{_without_default_port(scheme, authority)}{prefix}{path}"


@lru_cache(maxsize=256)
def _url_of(scheme: str, authority: str, host: str, path: str) -> str:
    named = _with_port(authority, host) if _HOST.fullmatch(authority) else host
    return f"{scheme}://{_without_default_port(scheme, named)}{path}"


def _with_port(authority: str, host: str) -> str:
    """The authority, with the port of `host` where it names the very address at which the request came in, without a port.

    dicomweb-client of Python leaves the port out of Host (against RFC 9110 7.2) and follows every BulkDataURI as it is sent.
    Behind a proxy the address that clients name is another than the one at which the proxy comes in.
    """
    port = _port_of(host)
    address = host[: -len(port) - 1] if port else host
    is_here = authority == address or (authority.lower() == "localhost" and address in _LOOPBACK)
    return f"{authority}:{port}" if is_here and port else authority


def _forwarded(headers: Mapping[str, str], scheme: str, authority: str) -> tuple[str, str, str]:
    standard = _first_hop(headers.get("forwarded", ""))
    proto = standard.get("proto") or _first(headers, "x-forwarded-proto")
    if proto.lower() in DEFAULT_PORTS:
        scheme = proto.lower()
    named = standard.get("host") or _first(headers, "x-forwarded-host")
    is_standard = "host" in standard and _HOST.fullmatch(named) is not None
    if _HOST.fullmatch(named):
        authority = named
    port = _first(headers, "x-forwarded-port")
    # A host that names no port of its own, be it the one that the proxy passes on as it came: the port in front of the proxy
    # counts, not the one behind it.
    if not is_standard and _port_of(authority) is None and re.fullmatch(r"[0-9]{1,5}", port):
        authority = f"{authority}:{port}"
    prefix = _first(headers, "x-forwarded-prefix").rstrip("/")
    return scheme, authority, prefix if _PREFIX.fullmatch(prefix) else ""


def _first(headers: Mapping[str, str], name: str) -> str:
    """Each proxy appends its own value: the first is what the client used."""
    return headers.get(name, "").partition(",")[0].strip()


def _first_hop(forwarded: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    position = 0
    while found := _FORWARDED_PAIR.match(forwarded, position):
        pairs.setdefault(found[1].lower(), found[2] if found[2] is not None else found[3])
        position = found.end()
        if forwarded[position : position + 1] != ";":
            break
        position += 1
    return pairs


def _port_of(authority: str) -> str | None:
    host, colon, port = authority.rpartition(":")
    return port if colon and not host.endswith(":") and "]" not in port and host else None


def _without_default_port(scheme: str, authority: str) -> str:
    port = _port_of(authority)
    return authority[: -len(port) - 1] if port == DEFAULT_PORTS.get(scheme) and port else authority


def resource_url(base_url: str, ref: Reference) -> str:
    """The Retrieve URL (0008,1190) of a study, series or instance."""
    return base_url + resource_path(ref)
