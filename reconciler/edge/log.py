"""The daemon's log: JSON lines on stderr, and never a reason to stop working.

What must be remembered is in the journal; the log is for people who look on. So a log call that
cannot be written (a closed pipe, a value that does not encode) is dropped, not raised.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

import msgspec
import structlog

_LEVEL = logging.INFO
_Filtering: Any = structlog.make_filtering_bound_logger(_LEVEL)


class Unfailing(_Filtering):  # type: ignore[misc]
    """A bound logger whose calls do not raise."""

    def _proxy_to_logger(
        self, method_name: str, event: str | None = None, *args: Any, **fields: Any
    ) -> Any:
        try:
            return super()._proxy_to_logger(method_name, event, *args, **fields)
        except (TypeError, ValueError, OSError, AttributeError, KeyError, RecursionError) as error:
            return _last_resort(event, error)


def configure() -> None:
    """Before anything that logs: structlog's own default would write to stdout."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer = structlog.processors.JSONRenderer(serializer=_encoded)
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=Unfailing,
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared[:3], structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.raiseExceptions = False
    logging.basicConfig(handlers=[handler], level=_LEVEL, force=True)


def _encoded(fields: dict[str, Any], **_options: Any) -> str:
    return msgspec.json.encode(fields, enc_hook=repr).decode()


def _last_resort(event: str | None, error: Exception) -> None:
    line = msgspec.json.encode({"event": str(event), "log_failed": repr(error)}) + b"\n"
    try:
        os.write(2, line)
    except OSError:
        return
