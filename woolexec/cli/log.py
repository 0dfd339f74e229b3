"""
The log of ``woolexec serve``, on stderr: a line of text or of JSON for each record.

A record may contain data from untrusted clients, so non-printable characters are escaped: no record can span two lines
that look like records, or move the cursor of a terminal.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

from woolexec.printable import printable

FORMATS = ("text", "json")
LEVELS = ("debug", "info", "warning", "error")


def set_up(form: str, level: str) -> None:
    """Write everything that this process logs to stderr, replacing other handlers."""
    handler = logging.StreamHandler()
    handler.addFilter(_is_ours_to_tell)
    handler.setFormatter(Json() if form == "json" else Text())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(logging.INFO, getattr(logging, level.upper())))  # other packages log too much below INFO
    logging.getLogger("woolexec").setLevel(level.upper())
    logging.captureWarnings(capture=True)


_OF_STRANGERS = ("Invalid encoding", "ExecuteBatchError raised in core")
"""What grpc says, with a traceback each, of keys in metadata, and of calls that had ended when they were answered:
strangers can cause any number of both."""


def _is_ours_to_tell(record: logging.LogRecord) -> bool:
    return not (record.name.startswith("grpc.") and record.getMessage().startswith(_OF_STRANGERS))


class Text(logging.Formatter):
    """Format for people: time, level, message."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line, followed by the indented lines of a traceback."""
        line = f"{_when(record)} {record.levelname.lower():<7} {printable(record.getMessage())}"
        return "\n".join([line, *(f"    {printable(each)}" for each in _traceback(record).splitlines())])


class Json(logging.Formatter):
    """Format for programs."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        fields = {"time": _when(record), "level": record.levelname.lower(), "logger": record.name}
        fields |= {"message": record.getMessage(), **getattr(record, "about", {})}
        if traceback := _traceback(record):
            fields["traceback"] = traceback
        return json.dumps(fields, default=repr)


def _when(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _traceback(record: logging.LogRecord) -> str:
    return logging.Formatter().formatException(record.exc_info) if record.exc_info else ""
