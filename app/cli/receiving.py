"""The receiving half of our HTTP protocol: requests as they arrive, with bounds for what a stranger may send and for how long.

Bodies are handed on in the chunks that they arrived in: uvicorn itself copies each one three times. The parser sees the head of
such a request; of the body, whose length it has read there, it would only count the bytes. Large ones are read by threads
(app.cli.uploads).

A head, what stands between the chunks of a body and the trailers behind it are kept by the parser until they are complete: they
are counted until then. So are requests that come before the answer to another.

Nobody waits for a client for ever: not for a request that never comes, nor for the rest of one that has begun, nor until an answer
is taken of which nothing is taken. There is one timer for each connection, which looks every now and then at what is waited for:
requests that come whole cost it nothing.
"""

import re
from asyncio import TimerHandle
from enum import Enum
from typing import Any

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app.cli.uploads import WORTH_IT, Chunks, Upload

LARGEST_HEAD = 64 * 1024  # bytes; URLs of many frames and cookies of a whole intranet are far smaller
HEAD_SECONDS = 60.0  # for a head to be complete: it is one segment, or a few. No other patience is shorter
BODY_SECONDS = 300.0  # for more of a body: links and disks of senders pause, and what is slow comes to its end
ANSWER_SECONDS = 300.0  # for more of an answer to be taken: who is slow, or pauses, takes some of it
# Requests that wait for the answer to another: each takes a hundred times the room that it was sent in.
MOST_BEHIND = 200
_NO_HOST = "A request of HTTP/1.1 has one Host header (RFC 9112 section 3.2)."
_BAD_HOST = "The Host header is not a host and its port (RFC 9112 section 3.2)."
# RFC 3986 3.2.2 and 3.2.3: a name, which may be empty, or an address in brackets, with its zone (RFC 6874).
_HOST = re.compile(rb"(?:\[[0-9A-Za-z:.~_%-]+\]|[0-9A-Za-z._~%!$&'()*+,;=-]*+)(?::[0-9]*)?")
_TOO_MUCH = f"A head, or trailers, of more than {LARGEST_HEAD} bytes are not read here."


class _Part(Enum):
    """Of a request that is not there as a whole."""

    HEAD = 1
    BODY = 2


class ReceivingProtocol(HttpToolsProtocol):
    """uvicorn's protocol as far as requests arrive; the other half is in app.cli.http_protocol."""

    _part: _Part | None = None  # that the request is in which has not come whole
    _begun = 0  # messages, in the data that came last
    _unread = 0  # bytes that the parser has been given since something came of them
    _left = 0  # bytes of a body that are still to come
    _upload: Upload | None = None
    _since = 0.0  # in the event loop's time: the wait for the client has begun then, or has last been rewarded
    _timer: TimerHandle | None = None
    _sent: object = None  # how far an answer had got, of which the client was to take more
    _sent_since = 0.0
    _drained = 0  # how often the client had taken what was to be written

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.flow = FlowControl(self)  # type: ignore[arg-type]  # whoever reads is to pause
        self._since = self.loop.time()
        self._look_again(self.timeout_keep_alive)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._timer is not None:
            self._timer.cancel()
        if self._upload is not None:
            self._upload.close()

    def data_received(self, data: bytes) -> None:
        if self._left:
            self._receive_body(data)
            return
        self._begun = 0
        self._unread += len(data)
        if self._unread > LARGEST_HEAD and self._part is not _Part.BODY:
            room = LARGEST_HEAD - (self._unread - len(data))
            if data.find(b"\r\n\r\n", 0, room) < 0:  # else it is the body behind that is long
                self._receive_long_head(data, room)
                return
        self._parse(data)
        if self._part is not None:
            self._wait_for_rest()
        else:
            self._unread = 0  # empty lines, of which nothing ever comes

    def _parse(self, data: bytes) -> None:
        """As uvicorn's own `data_received`, but for requests that would have the protocol changed: they may be answered as if they
        would not (RFC 9110 7.8). The parser takes what is behind their heads for another protocol: it is given them anew, without
        that wish.
        """
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = self._head_without_upgrade() + data[upgrade.args[0] :]
            except httptools.HttpParserError:
                self.logger.warning("Invalid HTTP request received.")
                self.send_400_response("Invalid HTTP request received.")
                return
            else:
                return

    def _head_without_upgrade(self) -> bytes:
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b\r\n" % (self.parser.get_method(), self.url, version)]
        lines += [b"%b: %b\r\n" % (name, value) for name, value in self.headers if name != b"upgrade"]
        return b"".join((*lines, b"\r\n"))

    def _receive_long_head(self, data: bytes, room: int) -> None:
        """More than a head may have, and no end of one is in sight: it must be within the `room` that is left."""
        self._unread = LARGEST_HEAD
        if room:
            self._parse(data[:room])
        if self.transport.is_closing():
            return
        if self._unread == LARGEST_HEAD:
            self._refuse(431, _TOO_MUCH)
            return
        self.data_received(data[room:])
        if self._part is not None and self._upload is None:
            self._wait_for_rest()

    def _wait_for_rest(self) -> None:
        """Something of a request has come, and not all."""
        if self._begun or not self._unread:
            self._since = self.loop.time()
        if self.transport.is_closing():
            return
        if self._unread > LARGEST_HEAD:
            self._refuse(431, _TOO_MUCH)
        elif self._left >= WORTH_IT and self.scheme == "http":
            self._receive_in_threads()

    def _receive_body(self, data: bytes) -> None:
        if len(data) < self._left:
            self._take(data)
            return
        body, behind = data[: self._left], data[self._left :]
        self._take(body)
        self._end_body()
        if behind:
            self.data_received(behind)

    def _receive_in_threads(self) -> None:
        """The rest of the body; the transport waits meanwhile."""
        self.transport.pause_reading()
        try:
            self._upload = Upload(self.transport, self._left, self._take, self._end_upload)
        except OSError:  # no descriptor is left: as any other body
            self.resume_reading()
            return
        if self.flow.read_paused:
            self._upload.pause_reading()

    def _take(self, piece: bytes) -> None:
        self._since = self.loop.time()
        self.on_body(piece)

    def _end_upload(self, is_whole: bool) -> None:
        self._upload = None
        if not is_whole:
            self.transport.close()
            return
        self._end_body()
        self.resume_reading()

    def _end_body(self) -> None:
        self.parser = httptools.HttpRequestParser(self)  # the old one waits for the body
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's own
        self.on_message_complete()

    def pause_reading(self) -> None:
        """For flow control: whoever reads pauses."""
        (self._upload or self.transport).pause_reading()

    def resume_reading(self) -> None:
        if not (self.flow.read_paused or self.transport.is_closing()):
            (self._upload or self.transport).resume_reading()

    def on_message_begin(self) -> None:
        self._begun += 1
        self._part = _Part.HEAD
        self._unread = self._unread or 1
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if self._comes_again():
            return
        version = self.parser.get_http_version()
        hosts = [value for name, value in self.headers if name == b"host"]
        if version == "1.1" and len(hosts) != 1:
            self._refuse(400, _NO_HOST)
            raise ValueError("not one Host")  # the parser goes no further
        if not all(map(_HOST.fullmatch, hosts)):
            self._refuse(400, _BAD_HOST)
            raise ValueError("no host in Host")
        if version == "1.0":
            self.expect_100_continue = False  # RFC 9110 10.1.1: it would take 100 for the answer
        super().on_headers_complete()
        if len(self.pipeline) > MOST_BEHIND:
            # The parser goes no further, and the connection ends with 400.
            raise OverflowError("too many requests wait")
        if self.cycle is not None:
            self.cycle.body = Chunks()  # type: ignore[assignment]
        self._left = _length_of_body(self.headers)
        self._part, self._unread = _Part.BODY, 0

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        self._left -= min(self._left, len(body))
        self._unread = 0

    def on_message_complete(self) -> None:
        if self._comes_again():
            return
        self._left = self._unread = 0
        self._part = None
        super().on_message_complete()

    def _comes_again(self) -> bool:
        """Whether this is the head of a request with an Upgrade header. CONNECT is refused as it is."""
        return bool(self.parser.should_upgrade()) and self.parser.get_method() != b"CONNECT"

    def on_response_complete(self) -> None:
        """As uvicorn's own, which makes a new timer for every answer: a fifth of the time of a small one."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        self._since = self.loop.time()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())

    def _unset_keepalive_if_required(self) -> None:
        """There is one timer, and it finds out by itself what is under way."""

    def _look_again(self, seconds: float) -> None:
        self._timer = self.loop.call_later(min(seconds, HEAD_SECONDS), self._look)

    def _look(self) -> None:
        """Whether the client has been waited for long enough. As soon as that can be: nothing is waited for shorter than a head."""
        if self._part is _Part.BODY:
            if self.flow.read_paused or self.cycle.waiting_for_100_continue:
                self._since = self.loop.time()  # the client waits for us
            elif self._upload is not None:
                self._upload.take_little()
        if self._part is not _Part.BODY and (left := self._patience_for_answer()) is not None:
            if left > 0:
                self._look_again(left)
            else:
                self.transport.abort()
            return
        if self.transport.is_closing():
            return
        patience = self._patience()
        left = patience if self._is_answering() else self._since + patience - self.loop.time()
        if left > 0:
            self._look_again(left)
        elif self._part is _Part.HEAD:
            self._refuse(408, f"The head of the request was not complete after {HEAD_SECONDS:g} seconds.")
        elif self._part is _Part.BODY:
            self.transport.abort()  # what is not sent yet is not taken either
        else:
            self.transport.close()

    def _patience(self) -> float:
        """Seconds that may pass until more of it is there."""
        if self._part is _Part.HEAD:
            return HEAD_SECONDS
        return BODY_SECONDS if self._part is _Part.BODY else self.timeout_keep_alive

    def _patience_for_answer(self) -> float | None:
        """Seconds that may pass until the client takes more of an answer; None where it has taken all that there is so far."""
        sent, now = self.sent_so_far(), self.loop.time()
        if sent is None or sent != self._sent:
            self._sent, self._sent_since = sent, now
        if sent is None:
            return None
        if self._part is None:
            self._since = now  # only then does the next request begin to be waited for
        return self._sent_since + ANSWER_SECONDS - now

    def sent_so_far(self) -> object:
        """Something else whenever the client has taken more; None where it has taken all that there is so far."""
        waiting = self.transport.get_write_buffer_size()
        return (waiting, self._drained) if waiting else None

    def resume_writing(self) -> None:
        self._drained += 1
        super().resume_writing()

    def _is_answering(self) -> bool:
        """Whether it is not the client's turn: what comes behind its request need not hurry."""
        is_under_way = bool(self.pipeline) or (self.cycle is not None and not self.cycle.response_complete)
        return is_under_way and self._part is not _Part.BODY

    def send_400_response(self, msg: str) -> None:
        """As uvicorn's own, but not amid another answer, nor behind a refusal that says more."""
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            super().send_400_response(msg)
        else:
            self.transport.close()

    def _refuse(self, status: int, text: str) -> None:
        """And close the connection: where the next request would begin is not known (RFC 9110 15.5.9, RFC 6585 5)."""
        if self.cycle is None or self.cycle.response_complete:  # else it would be taken for a part of that answer
            head = b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n" % len(text)
            own = b"".join([b"%b: %b\r\n" % pair for pair in self.server_state.default_headers])
            self.transport.write(b"%b%b%b\r\n%b" % (STATUS_LINE[status], own, head, text.encode()))
        self.transport.close()


def _length_of_body(headers: list[tuple[bytes, bytes]]) -> int:
    """0 where only the parser knows where the body ends (RFC 9112 6.3). It has refused what contradicts itself."""
    framing = [(name, value) for name, value in headers if name in (b"content-length", b"transfer-encoding")]
    if len(framing) != 1 or framing[0][0] != b"content-length" or not framing[0][1].isdigit():
        return 0
    return int(framing[0][1])
