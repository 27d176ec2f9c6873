"""Logging: one line a happening, JSON or for eyes, secrets taken out.

structlog writes; what libraries say through the standard library's logging goes the same way.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import io
import logging
import random
import re
import sys
import time
from collections.abc import MutableMapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TextIO

import orjson
import structlog

from authsvc.server import tracing
from authsvc.server.log_file import MAX_BYTES, LogFile, Lossy

__all__ = [
    "RequestLog",
    "close",
    "configure",
    "new_request_id",
    "redact",
    "without_secrets",
]

# Seeds of every kind, compact JWTs, and what we hand out ourselves (API and enrolment keys, device
# codes, links into the console): none has a place in a log, whoever put it there
# and whatever stands before it.
_SECRETS = re.compile(
    r"S[AOUNCX][A-Z2-7]{56}|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}"
    r"|(?:authsvc_(?:[a-z]+_)?|once_)[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])"
)
_REDACTED = "[redacted]"
_REQUEST_SECONDS = 0.2


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Take secrets out of every text of an event, however deep it lies."""
    for key, value in event.items():
        if isinstance(value, str):
            if len(value) > 40:  # noqa: PLR2004 - no secret is shorter
                event[key] = _SECRETS.sub(_REDACTED, value)
        elif key != "exc_info" and not isinstance(value, int | float | None):
            event[key] = _redacted(value)
    return event


def without_secrets(text: str) -> str:
    """The text, and in place of each secret a mark that one stood there."""
    return _SECRETS.sub(_REDACTED, text)


def _redacted(value: Any) -> Any:
    if isinstance(value, dict):
        return {_redacted(key): _redacted(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_redacted(inner) for inner in value]
    text = value if isinstance(value, str) else repr(value)
    clean = _SECRETS.sub(_REDACTED, text)
    # What holds no secret stays what it is, a number for one.
    return value if clean == text else clean


def _visible(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Any:
    """Spell out what a terminal would obey, or show as another line or in another order."""
    for key, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            event[key] = _spelt_out(value)
    return event


def _spelt_out(text: str) -> str:
    return "".join([char if char.isprintable() else repr(char)[1:-1] for char in text])


def configure(
    form: Literal["auto", "console", "json"],
    *,
    file: Path | None = None,
    max_bytes: int = MAX_BYTES,
    level: str = "info",
) -> None:
    """Set logging up for this process; called once, by the command line.

    Args:
        form: ``auto`` is for eyes on a terminal, else JSON.
        file: Where everything is written; then only warnings reach standard error.
        max_bytes: Of that file and of each older one.
        level: The lowest level that is written.
    """
    close()
    console = form == "console" or (form == "auto" and sys.stderr.isatty())
    wrapper = structlog.make_filtering_bound_logger(level)
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        _name_trace,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if file is not None:
        _Json.stream = LogFile(file, max_bytes)
        factory: Any = structlog.BytesLoggerFactory(_Json.stream)  # type: ignore[arg-type]
        end: list[Any] = _json_end()
    elif console:
        factory = structlog.PrintLoggerFactory(sys.stderr)
        end = [redact, _visible, structlog.dev.ConsoleRenderer(exception_formatter=_plain)]
    else:
        _Json.stream = Lossy(sys.stderr.buffer)
        factory = structlog.BytesLoggerFactory(_Json.stream)  # type: ignore[arg-type]
        end = _json_end()
    structlog.configure(
        processors=[*shared, *end],
        wrapper_class=wrapper,
        logger_factory=factory,
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_ToStructlog(also_stderr=file is not None)], force=True)
    logging.getLogger().setLevel(logging.INFO)
    for noisy in ("httpx", "httpcore", "alembic", "aiosqlite", "sqlalchemy", "uvicorn.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


@atexit.register
def close() -> None:
    """Close the log file, if there is one; JSON lines go nowhere from now on."""
    stream, _Json.stream = _Json.stream, None
    if isinstance(stream, LogFile):
        stream.close()


def new_request_id() -> bytes:
    """The id of a request that brought none, by which its answer and its line are found."""
    # Unique is enough; nothing rests on its being secret.
    return b"%032x" % random.getrandbits(128)


class RequestLog:
    """A line for each request, written some at a time.

    A line by the usual way costs as much as half of a signature. These are kept up to a fifth of
    a second and written at once; what a killed process had in hand is lost, the audit is not.
    """

    def __init__(self) -> None:
        self._lines: list[dict[str, Any]] = []
        self._timer: asyncio.TimerHandle | None = None
        atexit.register(self.flush)

    def add(self, line: dict[str, Any]) -> None:
        """Write a line, soon; it must hold no secret."""
        line["at"] = time.time()
        self._lines.append(line)
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_REQUEST_SECONDS, self.flush)

    def flush(self) -> None:
        """Write what is kept."""
        self._timer = None
        lines, self._lines = self._lines, []
        if not lines:
            return
        if _Json.stream is None:
            log = structlog.get_logger("authsvc.http")
            for line in lines:
                log.info("request", **line)
            return
        for line in lines:
            at = datetime.fromtimestamp(line.pop("at"), UTC)
            redact(None, "info", line)
            line.update(event="request", level="info", timestamp=at)
        _Json.stream.write(b"".join([orjson.dumps(line) + b"\n" for line in lines]))
        _Json.stream.flush()


class _Json:
    """Where JSON lines go, if they do."""

    stream: Lossy | None = None


def _name_trace(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Any:
    trace = tracing.trace_id()
    if trace is not None:
        event["trace_id"] = trace
    return event


def _json_end() -> list[Any]:
    return [
        structlog.processors.format_exc_info,
        redact,
        structlog.processors.JSONRenderer(serializer=_dumps),
    ]


def _dumps(value: Any, **_options: Any) -> bytes:
    return orjson.dumps(value, default=repr)


def _plain(stream: TextIO, exc_info: Any) -> None:
    # structlog's rich formatter shows local variables, and so secrets.
    text = io.StringIO()
    structlog.dev.plain_traceback(text, exc_info)
    clean = _SECRETS.sub(_REDACTED, text.getvalue())
    # Set in, so that a message of several lines is no line of the log's own.
    stream.write("\n".join([f"  {_spelt_out(line)}" for line in clean.rstrip().split("\n")]))


class _ToStructlog(logging.Handler):
    """Hands records of the standard library's logging to structlog."""

    def __init__(self, *, also_stderr: bool) -> None:
        super().__init__()
        self._also_stderr = also_stderr

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger(record.name)
        log.log(record.levelno, record.getMessage(), exc_info=record.exc_info or None)
        if self._also_stderr and record.levelno >= logging.WARNING:
            text = _spelt_out(_SECRETS.sub(_REDACTED, record.getMessage()))
            with contextlib.suppress(OSError):
                print(f"{record.levelname.lower()}: {text}", file=sys.stderr)  # noqa: T201
