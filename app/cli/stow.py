"""Sends files by the Store transaction (PS3.18 section 10.5) and finds out what became of each.

A request is streamed from the files, so its size does not matter, and its length is known beforehand. What fails for the sake
of one file is sent again file by file; sending twice is safe, since the same instance is stored once.
"""

import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace

import httpx

from app.cli.dicom_files import DicomFile, UnreadableFile
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
from app.cli.store_answer import StoreAnswer, Verdict, attribute, parse_store_answer
from app.cli.text import counted

PART_HEAD = b"--%s\r\nContent-Type: application/dicom\r\nContent-Length: %d\r\n\r\n"


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a request came to. status: 0 when there was no answer that counts, in spite of all attempts."""

    status: int
    items: StoreAnswer | None
    problem: str


def _new_boundary() -> bytes:
    """144 random bits: no file can hold it, so the files need not be searched for it."""
    return f"gantry-{secrets.token_hex(18)}".encode()


@dataclass(frozen=True, slots=True)
class _Body:
    """A multipart/related message of whole files (PS3.18 section 8.6.1.2), to be iterated once per attempt."""

    files: Sequence[DicomFile]
    on_sent: Callable[[int], None]
    boundary: bytes = field(default_factory=_new_boundary)

    @property
    def headers(self) -> dict[str, str]:
        return {
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={self.boundary.decode()}',
            "Content-Length": str(self._length()),
            "Accept": "application/dicom+json",
        }

    def _length(self) -> int:
        heads = sum(len(self._part_head(file)) + file.size + 2 for file in self.files)
        return heads + len(self._end())

    def _part_head(self, file: DicomFile) -> bytes:
        return PART_HEAD % (self.boundary, file.size)

    def _end(self) -> bytes:
        return b"--%s--\r\n" % self.boundary

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for file in self.files:
            yield self._part_head(file)
            async for chunk in file.chunks():
                yield chunk
                self.on_sent(len(chunk))
            yield b"\r\n"
        yield self._end()


@dataclass(frozen=True, slots=True)
class StowClient:
    """`url` is the service root. `on_sent` gets bytes of files as they leave, and takes them back when the request ends."""

    client: httpx.AsyncClient
    url: str
    patience: Patience = field(default_factory=Patience)
    on_sent: Callable[[int], None] = lambda _: None

    async def store(self, files: Sequence[DicomFile]) -> list[Verdict[DicomFile]]:
        """A verdict for each file, in any order. Raises Stopped when going on is useless."""
        try:
            answer = await self._request(files)
        except UnreadableFile as error:
            rest = [file for file in files if file is not error.file]
            verdict = Verdict(error.file, stored=False, text=error.reason)
            return [verdict, *(await self.store(rest) if rest else [])]
        if answer.items is not None:
            verdicts, unnamed = attribute(files, answer.items, DicomFile.sop_instance_uid)
            if unnamed and len(files) == 1:
                return [Verdict(files[0], stored=False, text="the server's answer does not name it")]
            return verdicts + await self._one_by_one(unnamed)
        if answer.status == 200:
            return [Verdict(file, stored=True) for file in files]
        if len(files) == 1:
            return [Verdict(files[0], stored=False, text=answer.problem)]
        return await self._one_by_one(files)

    async def _one_by_one(self, files: Sequence[DicomFile]) -> list[Verdict[DicomFile]]:
        """A request failed as a whole, or its answer leaves files in doubt: the culprit shows when each is sent alone."""
        hasty = replace(self, patience=replace(self.patience, retries=min(self.patience.retries, 1)))
        return [verdict for file in files for verdict in await hasty.store([file])]

    async def _request(self, files: Sequence[DicomFile]) -> _Answer:
        """Try until there is an answer that is not transient, or patience is over. Raises UnreadableFile, Stopped."""
        for attempt in range(self.patience.retries + 1):
            asked = None
            try:
                response, content = await self._attempt(files)
            except httpx.TransportError as error:
                problem, hopeless = transport_text(error), isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
            else:
                if response.status_code in FINAL_STATUSES or response.is_redirect:
                    raise Stopped(self._final_text(response, content))
                items = parse_store_answer(content)
                problem = status_text(response, content)
                # An answer that names instances is final, whatever its status.
                if response.status_code not in TRANSIENT_STATUSES or items is not None:
                    return _Answer(response.status_code, items, problem)
                asked, hopeless = retry_after(response), response.status_code in BUSY_STATUSES
            if attempt < self.patience.retries:
                await self.patience.wait(attempt + 1, asked)
        problem = f"{problem}, after {counted(self.patience.retries + 1, 'attempt')}"
        if hopeless:
            raise Stopped(f"{self.url}: {problem}")
        return _Answer(0, None, problem)

    async def _attempt(self, files: Sequence[DicomFile]) -> tuple[httpx.Response, bytes]:
        sent = 0

        def count(size: int) -> None:
            nonlocal sent
            sent += size
            self.on_sent(size)

        body = _Body(files, count)
        request = self.client.build_request("POST", f"{self.url}/studies", headers=body.headers, content=body)
        try:
            response = await self.client.send(request, stream=True)
            try:
                return response, await read_answer(response)
            finally:
                await response.aclose()
        finally:
            self.on_sent(-sent)

    def _final_text(self, response: httpx.Response, content: bytes) -> str:
        if response.is_redirect:
            return f"{self.url} has moved to {response.headers.get('Location', 'somewhere else')}: pass that as --url"
        return f"{self.url}/studies answered {status_text(response, content)}"
