"""Finds and fetches stored instances (PS3.18 sections 10.6 and 10.4) and writes them to files, byte for byte as stored."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import httpx

from app.blobs.digests import digests_of
from app.cli.dicom_head import HEAD_SIZE, Head, read_head
from app.cli.http import (
    BUSY_STATUSES,
    FINAL_STATUSES,
    TRANSIENT_STATUSES,
    Patience,
    Stopped,
    read_answer,
    retry_after,
    status_text,
    transport_text,
)
from app.dicom.references import InstanceRef, SeriesRef, StudyRef, is_uid, resource_path
from app.dicomweb.media_types import parse_media_type
from app.dicomweb.multipart_reader import MultipartReader, PartBegin, PartData, PartEnd
from app.errors import GantryError

PAGE = 1000
# `*` never brings Implicit VR Little Endian and Explicit VR Big Endian, which PS3.18 8.7.3.5 keeps off the wire: instances stored
# so are rewritten, unless they are asked for by name. A server that does not know them by name takes the next range.
OFF_THE_WIRE = frozenset({"1.2.840.10008.1.2", "1.2.840.10008.1.2.2"})
_AS_STORED = (*((syntax, 1.0) for syntax in sorted(OFF_THE_WIRE)), ("*", 0.9))
_MULTIPART = 'multipart/related; type="application/dicom"'
ACCEPT_SERIES = ", ".join(f"{_MULTIPART}; transfer-syntax={syntax};q={q}" for syntax, q in _AS_STORED)
ACCEPT_INSTANCE = ", ".join(
    [f"application/dicom; transfer-syntax={syntax};q={q}" for syntax, q in _AS_STORED]
    + [f"{_MULTIPART}; transfer-syntax={syntax};q={q / 2}" for syntax, q in _AS_STORED]
)
# PS3.18 8.7.5 has lists of ranges; Orthanc takes a list for one range, and refuses all of it for the type of the first. Then
# one range asks again: that of the default media type (Table 10.4.4-1), which every server knows.
ACCEPT_ONE_RANGE = f"{_MULTIPART}; transfer-syntax=*"
_NOT_UNDERSTOOD = (400, 406)


class RetrieveFailed(Exception):
    """One resource cannot be had, or not wholly; the message says why. `may_pass`: another attempt may succeed."""

    def __init__(self, problem: str, *, may_pass: bool = False) -> None:
        super().__init__(problem)
        self.may_pass = may_pass


@dataclass(frozen=True, slots=True)
class FoundInstance:
    """What a search says of an instance. syntaxes: Available Transfer Syntax UID (0008,3002); () where the server is silent."""

    ref: InstanceRef
    syntaxes: tuple[str, ...]

    @property
    def comes_as_stored_with_others(self) -> bool:
        """A request for many is answered for all of them in one way: one that only comes by name must be asked for alone."""
        return bool(self.syntaxes) and not OFF_THE_WIRE & set(self.syntaxes)

    def is_stored_as(self, syntax: str) -> bool:
        return not self.syntaxes or not syntax or syntax in self.syntaxes


@dataclass(frozen=True, slots=True)
class Received:
    """More bytes of an answer."""

    size: int


@dataclass(frozen=True, slots=True)
class Written:
    """An instance whose file is in place, and the syntax it is in; `unchanged`: it was so before."""

    instance: InstanceRef
    transfer_syntax_uid: str
    unchanged: bool = False


def instance_path(folder: Path, ref: InstanceRef) -> Path:
    """Where an instance goes. UIDs are digits and dots: nothing else can stand in the path."""
    return folder / ref.study_instance_uid / ref.series_instance_uid / f"{ref.sop_instance_uid}.dcm"


@dataclass(frozen=True, slots=True)
class WadoClient:
    """`url` is the service root; files go below `folder`."""

    client: httpx.AsyncClient
    url: str
    folder: Path
    patience: Patience = field(default_factory=Patience)

    async def find_instances(self, ref: StudyRef | SeriesRef) -> list[FoundInstance]:
        """Every instance below `ref`. Raises RetrieveFailed, Stopped."""
        found: dict[InstanceRef, FoundInstance] = {}
        while True:
            # Both are returned by default in some cases; asking for them anyway does no harm.
            fields = (("includefield", "0020000E"), ("includefield", "00083002"))
            query = (*fields, ("limit", str(PAGE)), ("offset", str(len(found))))
            page = await self._search(f"{resource_path(ref)}/instances", query)
            before = len(found)
            for item in page:
                if instance := _instance_of(item, ref):
                    found.setdefault(instance, FoundInstance(instance, _values(item, "00083002")))
            if len(found) == before:
                return list(found.values())

    async def _search(self, path: str, query: tuple[tuple[str, str], ...]) -> list[Any]:
        headers = {"Accept": "application/dicom+json"}
        async with self._get(path, headers, query) as response:
            if response.status_code in (204, 404):
                return []
            content = await read_answer(response)
            if response.status_code != 200:
                raise RetrieveFailed(status_text(response, content))
        try:
            value = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise RetrieveFailed("the answer to the search is not JSON") from error
        return value if isinstance(value, list) else []

    async def fetch(self, ref: SeriesRef | InstanceRef) -> AsyncIterator[Received | Written]:
        """Write a series or an instance.

        Raises RetrieveFailed when not everything came (what was Written stays), Stopped also when a file cannot be written.
        """
        try:
            known = await asyncio.to_thread(self._known, ref) if isinstance(ref, InstanceRef) else None
            headers = {"Accept": ACCEPT_INSTANCE if isinstance(ref, InstanceRef) else ACCEPT_SERIES}
            if known is not None:
                headers["If-None-Match"] = known.entity_tags
            async with self._get_in_some_range(resource_path(ref), headers) as response:
                if known is not None and known.is_current(response):
                    yield Written(known.ref, known.transfer_syntax_uid, unchanged=True)
                    return
                if response.status_code != 200:
                    raise RetrieveFailed(status_text(response, await read_answer(response)))
                async for progress in _receive(response, ref, self.folder):
                    yield progress
        except httpx.TransportError as error:
            raise RetrieveFailed(transport_text(error), may_pass=True) from error
        except OSError as error:
            raise Stopped(f"{error.strerror or error}: {error.filename or self.folder}") from error

    def _known(self, ref: InstanceRef) -> "_KnownFile | None":
        path = instance_path(self.folder, ref)
        return _KnownFile.read(ref, path) if path.is_file() else None

    @asynccontextmanager
    async def _get_in_some_range(self, path: str, headers: Mapping[str, str]) -> AsyncIterator[httpx.Response]:
        """An answer to the Accept header, or, where the server makes nothing of it, to the plainest one."""
        async with self._get(path, headers) as response:
            if response.status_code not in _NOT_UNDERSTOOD:
                yield response
                return
        async with self._get(path, {**headers, "Accept": ACCEPT_ONE_RANGE}) as response:
            yield response

    @asynccontextmanager
    async def _get(
        self, path: str, headers: Mapping[str, str], query: tuple[tuple[str, str], ...] = ()
    ) -> AsyncIterator[httpx.Response]:
        """An answer whose body is not read yet, after as many attempts as patience allows."""
        problem = "no attempt was made"
        for attempt in range(self.patience.retries + 1):
            asked = None
            try:
                request = self.client.build_request("GET", self.url + path, headers=headers, params=query or None)
                response = await self.client.send(request, stream=True)
            except httpx.TransportError as error:
                problem, hopeless = transport_text(error), True
            else:
                if response.status_code not in TRANSIENT_STATUSES and response.status_code not in FINAL_STATUSES - {
                    404
                }:
                    try:
                        yield response
                    finally:
                        await response.aclose()
                    return
                problem = status_text(response, await read_answer(response))
                await response.aclose()
                if response.status_code in FINAL_STATUSES:
                    raise Stopped(f"{self.url}{path}: {problem}")
                asked, hopeless = retry_after(response), response.status_code in BUSY_STATUSES
            if attempt < self.patience.retries:
                await self.patience.wait(attempt + 1, asked)
        if hopeless:
            raise Stopped(f"{self.url}{path}: {problem}")
        raise RetrieveFailed(problem)


@dataclass(frozen=True, slots=True)
class _KnownFile:
    """A file of an earlier run: is it what the server holds today?"""

    ref: InstanceRef
    size: int
    digests: tuple[str, ...]  # of every kind that a Gantry may know it by
    transfer_syntax_uid: str

    @classmethod
    def read(cls, ref: InstanceRef, path: Path) -> "_KnownFile":
        with path.open("rb") as stream:
            head = read_head(stream.read(HEAD_SIZE))
            stream.seek(0)
            digests = digests_of(stream)
        return cls(ref, path.stat().st_size, digests, head.transfer_syntax_uid if head else "")

    @property
    def entity_tags(self) -> str:
        """As Gantry makes them; to other servers they are such as they do not know."""
        return ", ".join(f'"{digest[:32]}-{self.transfer_syntax_uid}"' for digest in self.digests)

    def is_current(self, response: httpx.Response) -> bool:
        """By 304, by an ETag made of the digest, or, where there is no ETag, by the size of a single part."""
        if response.status_code != 200:
            return response.status_code == 304
        if "ETag" in response.headers:
            etag: str = response.headers["ETag"]
            return any(digest[:32] in etag.lower() for digest in self.digests)
        is_single = response.headers.get("Content-Type", "").lower().startswith("application/dicom")
        return bool(is_single and response.headers.get("Content-Length") == str(self.size))


async def _receive(
    response: httpx.Response, ref: SeriesRef | InstanceRef, folder: Path
) -> AsyncIterator[Received | Written]:
    try:
        media_type = parse_media_type(response.headers.get("Content-Type", ""))
        reader = MultipartReader(media_type) if media_type.type == "multipart" else None
    except GantryError as error:
        raise RetrieveFailed(f"the answer cannot be read: {error}") from error
    files = _Files(ref, folder)
    try:
        if reader is None:
            files.take(PartBegin({"content-location": ""}, None))
        async for chunk in response.aiter_raw():
            yield Received(len(chunk))
            for event in reader.feed(chunk) if reader else [PartData(chunk)]:
                if written := files.take(event):
                    yield written
        for event in reader.finish() if reader else [PartEnd()]:
            if written := files.take(event):
                yield written
    except GantryError as error:
        raise RetrieveFailed(f"the answer cannot be read: {error}") from error
    finally:
        files.close()


class _Files:
    """Writes the parts of one answer, each to a hidden file that gets its name when it is whole."""

    def __init__(self, ref: SeriesRef | InstanceRef, folder: Path) -> None:
        self.ref = ref
        self.series = ref.series if isinstance(ref, InstanceRef) else ref
        self.folder = folder / self.series.study_instance_uid / self.series.series_instance_uid
        self._stream: IO[bytes] | None = None
        self._partial = Path()
        self._headers: Mapping[str, str] = {}

    def take(self, event: PartBegin | PartData | PartEnd) -> Written | None:
        """The instance whose file is now in place, if one is. Raises RetrieveFailed."""
        if isinstance(event, PartBegin):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._headers = event.headers
            self._partial = self.folder / f".{secrets.token_hex(8)}.partial"
            self._stream = self._partial.open("xb")
        elif isinstance(event, PartData) and self._stream is not None:
            self._stream.write(event.data)
        elif isinstance(event, PartEnd):
            if event.problem:
                raise RetrieveFailed(event.problem, may_pass=True)
            return self._finish()
        return None

    def close(self) -> None:
        """Drop what is not whole."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None
            self._partial.unlink(missing_ok=True)

    def _finish(self) -> Written:
        assert self._stream is not None  # noqa: S101 - a PartEnd follows a PartBegin
        size = self._stream.tell()
        promised = self._headers.get("content-length", "")
        if promised.isascii() and promised.isdigit() and int(promised[:20]) != size:
            raise RetrieveFailed(f"a part of {promised} bytes came with {size}", may_pass=True)
        self._stream.flush()
        with self._partial.open("rb") as stream:
            head = read_head(stream.read(HEAD_SIZE))
        if head is None:
            raise RetrieveFailed("a part of the answer is not a DICOM file")
        name = self._name(head)
        self._stream.close()
        self._stream = None
        self._partial.replace(self.folder / f"{name}.dcm")
        instance = InstanceRef(self.series.study_instance_uid, self.series.series_instance_uid, name)
        return Written(instance, head.transfer_syntax_uid)

    def _name(self, head: Head) -> str:
        """The SOP Instance UID of the part: what was asked for, else by its Content-Location, else as the file says."""
        if isinstance(self.ref, InstanceRef):
            return self.ref.sop_instance_uid
        named = self._headers.get("content-location", "").rstrip("/").rpartition("/instances/")[2]
        name = named if is_uid(named) else head.sop_instance_uid
        if not is_uid(name):
            raise RetrieveFailed("a part of the answer does not say which instance it is")
        return name


def _instance_of(item: object, ref: StudyRef | SeriesRef) -> InstanceRef | None:
    """The instance that a search result names; None where its UIDs are missing or unusable."""
    instance = _first(item, "00080018")
    series = ref.series_instance_uid if isinstance(ref, SeriesRef) else _first(item, "0020000E")
    if not is_uid(instance) or not is_uid(series):
        return None
    return InstanceRef(ref.study_instance_uid, series, instance)


def _first(item: object, tag: str) -> str:
    return next(iter(_values(item, tag)), "")


def _values(item: object, tag: str) -> tuple[str, ...]:
    element = item.get(tag) if isinstance(item, dict) else None
    values = element.get("Value") if isinstance(element, dict) else None
    return tuple(value for value in values if isinstance(value, str)) if isinstance(values, list) else ()
