"""Tables of the statement that come from the program: every function returns Markdown."""

import inspect
import re
from functools import cache

from pydicom.charset import python_encoding

from app.api.capabilities import operations_of
from app.api.errors import STATUS_OF
from app.dicom import store_status
from app.dicom.attribute_levels import UNMATCHED_KEYWORDS
from app.dicom.attributes import DEFAULT_RETURNED, REQUIRED_KEYS, SEARCHABLE, keyword_path, standard_path
from app.dicom.matching import AttributePath, Level
from app.dicom.store_status import StoreStatus
from app.dicom.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN, TRANSFER_SYNTAXES, wire_syntax
from app.dicomweb.capabilities import Operation
from app.dicomweb.charsets import CHARACTER_SETS
from app.dicomweb.resources import COMPRESSED, DOCUMENT_TYPES, OFFERS, Offer, Resource
from app.dicomweb.search_query import parse_search_query
from app.dicomweb.urls import DICOMWEB_PREFIX
from app.dicomweb.warning_headers import additional_results
from app.main import create_app
from app.settings import Settings
from tests.conformance.statement.conversions import is_made, short
from tests.conformance.statement.markdown import code, table
from tests.support.server import PROJECT

LEVELS = {Level.STUDY: "Study", Level.SERIES: "Series", Level.INSTANCE: "Instance"}
_TITLES = {
    Resource.INSTANCES: "Study, Series",
    Resource.INSTANCE: "Instance",
    Resource.METADATA: "Metadata",
    Resource.BULKDATA_ITEM: "Bulkdata by its URI",
    Resource.BULKDATA_COLLECTION: "Bulkdata and Pixel Data of a study, series or instance",
    Resource.FRAMES: "Frames",
    Resource.SEARCH: "Search",
    Resource.STORE_RESPONSE: "Answer to a store",
    Resource.CAPABILITIES: "Capabilities",
}
# What a media type is offered for only where a route leads to it.
_ROUTES = {"RENDERED_": "/rendered", "THUMBNAIL": "/thumbnail", "URI_": "wado"}


@cache
def operations() -> tuple[Operation, ...]:
    return tuple(operations_of(create_app(Settings(log_level="warning"))))


def transactions() -> str:
    """Every operation of the service with its messages."""
    rows = []
    for one in sorted(operations(), key=lambda operation: (operation.path, operation.method)):
        answers = dict.fromkeys(kind for kinds in one.responses.values() for kind in kinds)
        rows.append(
            (
                f"`{one.method} {one.path}`",
                one.name.replace("_", " "),
                code(one.request_types),
                code(answers),
                ", ".join(str(status) for status in sorted(one.responses)),
            )
        )
    return table(("method and resource", "operation", "request", "answer", "statuses"), rows)


def parameters() -> str:
    """Query parameters and the operations that read them."""
    described: dict[tuple[str, str], dict[str, None]] = {}
    for one in operations():
        for parameter in one.parameters:
            if parameter.style == "query" and parameter.description:
                names = described.setdefault((parameter.name, parameter.description), {})
                names[_transaction(one)] = None
    rows = [(f"`{name}`", ", ".join(names), text) for (name, text), names in sorted(described.items())]
    return table(("parameter", "operations", "meaning"), rows)


def _transaction(operation: Operation) -> str:
    """The operations of one kind under one name: the search for studies and for series are both a search."""
    return operation.path.rsplit("/", 1)[-1] if operation.name.startswith("retrieve_") else operation.name.split("_")[0]


def statuses() -> str:
    """Which status each error of the domain is answered with."""
    rows = sorted((status, kind.__name__, inspect.getdoc(kind) or "") for kind, status in STATUS_OF.items())
    return table(("status", "error", "meaning"), rows)


def media_types() -> str:
    """The representations of every resource, the default first."""
    rows = []
    for resource, offers in OFFERS.items():
        if not _is_routed(resource):
            continue
        groups: dict[str, list[str]] = {}
        for offer in offers:
            groups.setdefault(_form(offer), []).append(offer.media_type)
        title = _TITLES.get(resource) or resource.name.replace("_", " ").capitalize().replace("Uri ", "URI service: ")
        rows += [(title, form, code(names)) for form, names in groups.items()]
    return table(("resource", "form", "media types"), rows)


def _is_routed(resource: Resource) -> bool:
    for prefix, path in _ROUTES.items():
        if resource.name.startswith(prefix):
            return any(path in one.path for one in operations())
    return True


def _form(offer: Offer) -> str:
    form = "parts of `multipart/related`" if offer.multipart else "single part"
    if offer.one_item:
        form += ", where the answer is one item"
    return f"{form}, by name and not by a wildcard" if offer.by_name_only else form


def default_syntaxes() -> str:
    """What a media type means without a transfer-syntax parameter."""
    rows = [(f"`{name}`", code([short(uids[0])]), code(map(short, uids[1:]))) for name, uids in COMPRESSED.items()]
    rows.insert(0, ("`application/dicom`, `application/octet-stream`", code([short(EXPLICIT_VR_LITTLE_ENDIAN)]), "any"))
    return table(("media type", "default", "others that it may hold"), rows)


def document_types() -> str:
    return code(DOCUMENT_TYPES)


def transfer_syntaxes() -> str:
    """What is stored, and in which syntaxes it is delivered."""
    rows = []
    for uid, syntax in TRANSFER_SYNTAXES.items():
        rows.append(
            (
                f"`{uid}`",
                syntax.name,
                f"`{syntax.media_type}`" if syntax.media_type else "",
                "yes" if wire_syntax(uid) == uid else "as Explicit VR Little Endian, or by its own UID",
                "yes" if is_made(uid, EXPLICIT_VR_LITTLE_ENDIAN) or uid == EXPLICIT_VR_LITTLE_ENDIAN else "no",
                "yes" if any(is_made(other, uid) for other in TRANSFER_SYNTAXES) else "no",
            )
        )
    heads = (
        "UID", "name", "media type of a frame", "delivered as stored", "delivered as Explicit VR Little Endian",
        "made from others",
    )  # fmt: skip
    return table(heads, rows)


def _path(path: AttributePath) -> str:
    return f"`{keyword_path(path)}` ({path.dotted})"


def matching_keys() -> str:
    """Per level: required keys, and the optional ones that are indexed."""
    rows = [
        (LEVELS[level], ", ".join(map(_path, REQUIRED_KEYS[level])), code(map(keyword_path, SEARCHABLE[level])))
        for level in LEVELS
    ]
    return table(("level", "required (Table 10.6.1-5)", "optional, indexed"), rows)


def unmatched_keys() -> str:
    return ", ".join(
        _path(standard_path(keyword)) for keyword in UNMATCHED_KEYWORDS if keyword != "SpecificCharacterSet"
    )


def returned_attributes() -> str:
    """Per level: what a result holds without includefield."""
    rows = [
        (LEVELS[level], ", ".join(f"{_path(one.path)} {one.type}" for one in DEFAULT_RETURNED[level]))
        for level in LEVELS
    ]
    return table(("level", "attributes"), rows)


@cache
def _sources() -> str:
    own = {"store_status.py"}
    return "\n".join(path.read_text() for path in sorted((PROJECT / "app").rglob("*.py")) if path.name not in own)


def _store_statuses(statuses: tuple[StoreStatus, ...]) -> str:
    names = {id(value): name for name, value in vars(store_status).items() if isinstance(value, StoreStatus)}
    rows = [
        (f"{one.code:04X}H ({one.code})", one.name, one.meaning)
        for one in statuses
        if re.search(rf"\b{names[id(one)]}\b", _sources())
    ]
    return table(("code", "name", "meaning"), rows) if rows else "None is given."


def store_warnings() -> str:
    """Those that some code gives."""
    return _store_statuses(store_status.WARNINGS)


def store_failures() -> str:
    return _store_statuses(store_status.FAILURES)


def search_warnings() -> str:
    """The texts of `Warning: 299` as they go out, N standing for a number and X for a name."""
    unsupported = parse_search_query("X=1", level=Level.STUDY).warnings
    misplaced = [text.replace("Modality", "X") for text in parse_search_query("Modality=X", level=Level.STUDY).warnings]
    counted = additional_results(0).replace("0", "N")
    return "\n".join(f"- `{text}`" for text in (counted, *unsupported, *misplaced))


def output_character_sets() -> str:
    return table(
        ("name", "Specific Character Set"), [(one.name, f"`{one.specific_character_set}`") for one in CHARACTER_SETS]
    )


def input_character_sets() -> str:
    return code(sorted(term for term in python_encoding if term))


def settings(*names: str) -> str:
    """The settings that change what clients see."""
    fields = {name: Settings.model_fields[name] for name in names}
    rows = [
        (f"`GANTRY_{name.upper()}`", _default(field.default), field.description or "") for name, field in fields.items()
    ]
    return table(("setting", "default", "what it does"), rows)


def _default(value: object) -> str:
    return f"`{value}`" if value != "" else "empty"


def service_path() -> str:
    return DICOMWEB_PREFIX
