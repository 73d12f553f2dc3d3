"""The statement as one document: the template's prose, and the tables where it names them."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from app import __version__
from app.db.matching_sql import MAX_PATTERNS
from app.dicom.codecs import MAX_PIXELS
from app.dicomweb import search_query, search_values
from app.main import EXPOSED_HEADERS
from tests.conformance.statement import code_tables as tables
from tests.conformance.statement.conversions import conversions, encodings
from tests.conformance.statement.proofs import Proofs, counts_table, requirement_tables

TEMPLATE = Path(__file__).parent / "template.md"
RESULTS_HEADING = "## Results of one run"
_PLACE = re.compile(r"\{\{([a-z_]+)\}\}")

BEHAVIOUR = (
    "duplicates", "retention_days", "searchable_attributes", "bulkdata_threshold", "strict_accept",
    "search_empty_status", "cors_origins",
)  # fmt: skip
LIMITS = (
    "search_max_results", "search_candidate_cap", "max_request_bytes", "max_parts", "max_frames_per_request",
    "min_free_bytes", "max_decoded_bytes", "codec_threads", "codec_timeout_seconds",
)  # fmt: skip


def _places(proofs: Proofs, explained: Mapping[str, str]) -> dict[str, Callable[[], object]]:
    return {
        "version": lambda: __version__,
        "service_path": tables.service_path,
        "transactions": tables.transactions,
        "parameters": tables.parameters,
        "statuses": tables.statuses,
        "media_types": tables.media_types,
        "default_syntaxes": tables.default_syntaxes,
        "document_types": tables.document_types,
        "transfer_syntaxes": tables.transfer_syntaxes,
        "conversions": conversions,
        "encodings": encodings,
        "matching_keys": tables.matching_keys,
        "unmatched_keys": tables.unmatched_keys,
        "returned_attributes": tables.returned_attributes,
        "store_warnings": tables.store_warnings,
        "store_failures": tables.store_failures,
        "search_warnings": tables.search_warnings,
        "output_character_sets": tables.output_character_sets,
        "input_character_sets": tables.input_character_sets,
        "behaviour_settings": lambda: tables.settings(*BEHAVIOUR),
        "limit_settings": lambda: tables.settings(*LIMITS),
        "exposed_headers": lambda: EXPOSED_HEADERS,
        "max_parameters": lambda: search_query.MAX_PARAMETERS,
        "max_query_length": lambda: search_query.MAX_QUERY_LENGTH,
        "max_matches": lambda: search_query.MAX_MATCHES,
        "max_list_items": lambda: search_values.MAX_LIST_ITEMS,
        "max_patterns": lambda: MAX_PATTERNS,
        "max_pixels": lambda: MAX_PIXELS,
        "counts": lambda: counts_table(proofs, explained),
        "requirements": lambda: requirement_tables(proofs, explained),
    }


def statement(proofs: Proofs, explained: Mapping[str, str]) -> str:
    """The whole statement, Markdown. Raises KeyError for a place of the template that nothing fills."""
    places = _places(proofs, explained)
    template = TEMPLATE.read_text(encoding="utf-8")
    if unused := places.keys() - set(_PLACE.findall(template)):
        raise KeyError(f"the template has no place for {', '.join(sorted(unused))}")
    return _PLACE.sub(lambda match: str(places[match[1]]()), template)
