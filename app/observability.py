"""Logs and metrics. Imports nothing of the project; everything may import it.

Logs are structured (structlog): a line of text on a terminal, a JSON object per line with GANTRY_LOG_FORMAT=json. They name
UIDs, never patients. Metrics are Prometheus counters and histograms, served by `/metrics`.
"""

import asyncio
import logging
import sys
import time
from bisect import bisect_left
from collections.abc import Iterator
from functools import lru_cache
from itertools import accumulate
from select import PIPE_BUF
from typing import ClassVar

import orjson
from prometheus_client import CollectorRegistry, Counter, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

# structlog imports rich's tracebacks where rich is installed, and Pygments with them: 0.1 s and 5 MB of every server process,
# for coloured tracebacks that show the values of variables, which we never print. A name that is None cannot be imported.
_unwanted = [name for name in ("rich", "rich.pretty", "rich.traceback") if name not in sys.modules]
sys.modules.update(dict.fromkeys(_unwanted))  # type: ignore[arg-type]
try:
    import structlog
finally:
    for _name in _unwanted:
        del sys.modules[_name]

log: structlog.stdlib.BoundLogger = structlog.get_logger("gantry")

disable_created_metrics()  # type: ignore[no-untyped-call]  # times are not to be added up (app.shared_metrics)
registry = CollectorRegistry()

_TOLD = "(logged with its request)"

# Upper bounds of the histogram, in seconds.
_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class _Requests:
    """Those of one transaction that were answered with one status. Sizes of bodies in bytes."""

    __slots__ = ("by_bound", "received", "seconds", "sent")

    def __init__(self) -> None:
        self.by_bound = [0] * (len(_BOUNDS) + 1)
        self.seconds, self.received, self.sent = 0.0, 0, 0


class RequestMetrics(Collector):
    """What is counted of every request. A histogram and two counters of the library take a fifteenth of the time of a small frame,
    since threads may share them; these are for one event loop.
    """

    def __init__(self) -> None:
        self._found: dict[tuple[str, int], _Requests] = {}

    def count(self, transaction: str, status: int, *, seconds: float, received: int, sent: int) -> None:
        """A request from its first byte to the last of its answer; the bytes of both bodies."""
        one = self._found.get((transaction, status))
        if one is None:
            one = self._found[transaction, status] = _Requests()
        one.by_bound[bisect_left(_BOUNDS, seconds)] += 1
        one.seconds += seconds
        one.received += received
        one.sent += sent

    def collect(self) -> Iterator[Metric]:
        seconds = HistogramMetricFamily(
            "gantry_request_seconds",
            "Time from the first byte of a request to the last byte of its answer.",
            labels=["transaction", "status"],
        )
        received = CounterMetricFamily(
            "gantry_request_bytes_total", "Bytes of request bodies.", labels=["transaction", "status"]
        )
        sent = CounterMetricFamily(
            "gantry_response_bytes_total", "Bytes of response bodies.", labels=["transaction", "status"]
        )
        for (transaction, status), one in sorted(self._found.items()):
            labels = [transaction, str(status)]
            counts = zip([*map(str, map(float, _BOUNDS)), "+Inf"], accumulate(one.by_bound), strict=True)
            seconds.add_metric(labels, list(counts), one.seconds)
            received.add_metric(labels, one.received)
            sent.add_metric(labels, one.sent)
        yield from (seconds, received, sent)


REQUESTS = RequestMetrics()
registry.register(REQUESTS)
INSTANCES_STORED = Counter(
    "gantry_instances_stored_total", "Instances stored, by result.", ["result"], registry=registry
)


class _RequestLog:
    """Whether and how the lines of `log_request` are written; those that wait for the end of a turn of the event loop."""

    wanted = False
    as_json = False
    waiting: ClassVar[list[str]] = []
    loop: ClassVar[asyncio.AbstractEventLoop | None] = None


def log_request(method: str, path: str, status: int, sent: int, milliseconds: float, request_id: str) -> None:
    """The one line that every request has, in the form of all others. Through structlog and logging it would take a sixth of
    the time of a frame.

    sent  bytes of the body
    """
    if not _RequestLog.wanted:
        return
    now = time.time()
    stamp = f"{_second(int(now))}.{int(now % 1 * 1e6):06d}Z"
    if _RequestLog.as_json:
        fields = {
            "method": method,
            "path": path,
            "status": status,
            "bytes": sent,
            "milliseconds": round(milliseconds, 2),
            "event": "request",
            "request_id": request_id,
            "level": "info",
            "timestamp": stamp,
        }
        # A path may hold what is no text: it is told as far as it is.
        line = orjson.dumps({**fields, "path": path.encode("utf-8", "replace").decode()}).decode()
    else:
        line = (
            f"{stamp} [info     ] request                        bytes={sent} method={method} milliseconds={milliseconds:.2f} "
            f"path={path!r} request_id={request_id!r} status={status}"
        )
    _write_soon(line + "\n")


@lru_cache(maxsize=1)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def _write_soon(line: str) -> None:
    """With those of the same turn of the event loop: a system call for each takes as long as all else that is done for a line."""
    _RequestLog.waiting.append(line)
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        _write_waiting()
        return
    if _RequestLog.loop is not loop:
        _RequestLog.loop = loop
        loop.call_soon(_write_waiting)


def _write_waiting() -> None:
    """In parts that a pipe takes whole: lines of several processes that share one do not mix."""
    lines, _RequestLog.waiting, _RequestLog.loop = _RequestLog.waiting, [], None
    text, size = "", 0
    for line in lines:
        length = len(line) if line.isascii() else len(line.encode("utf-8", "backslashreplace"))
        if size + length > PIPE_BUF:
            sys.stderr.write(text)
            text, size = "", 0
        text += line
        size += length
    sys.stderr.write(text)


def configure_logging(*, as_json: bool, level: str) -> None:
    """Send structlog and the standard library's loggers to standard error in one form."""
    number = logging.getLevelNamesMapping()[level.upper()]
    _RequestLog.wanted, _RequestLog.as_json = number <= logging.INFO, as_json
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    final: structlog.typing.Processor
    if as_json:
        shared.append(structlog.processors.format_exc_info)
        final = structlog.processors.JSONRenderer()
    else:
        # Plain tracebacks: values of local variables could be patients' data.
        formatter_of_errors = structlog.dev.plain_traceback
        final = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=formatter_of_errors)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(number),
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, final],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(number)
    # uvicorn's access log would say each request a second time, without its id and duration; and where a handler can be reached,
    # uvicorn makes the line even for a logger that drops it.
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = name != "uvicorn.access"
    logging.getLogger("uvicorn.error").addFilter(_is_untold)
    # Libraries that tell every statement or warn about each odd file: their errors reach us as exceptions.
    for name in ("sqlalchemy.engine", "alembic", "aiosqlite", "httpx"):
        logging.getLogger(name).setLevel(max(number, logging.WARNING))
    # A filter, for pydicom sets its level when it is imported, which is later.
    logging.getLogger("pydicom").addFilter(_is_error)


def log_failure(error: Exception, event: str, **words: object) -> None:
    """With its traceback, once: not again by the server, which it is raised to because the answer has begun."""
    log.error(event, exc_info=error, **words)
    error.add_note(_TOLD)


def _is_error(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR


def _is_untold(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    return _TOLD not in getattr(error, "__notes__", ())
