"""Relay logging records to the caller's handlers."""

from __future__ import annotations

import functools

from woolexec.platform.posix import host_name
from woolexec.worker import nested_tasks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

_LARGEST = 1 << 20
"""Maximum size of a record in bytes, as it is sent."""

_LONGEST = 1 << 16
"""Maximum number of characters in each text of a record that was larger than that."""


def _shortened(values: dict[str, Any], size: int, usual: Iterable[str]) -> dict[str, Any]:
    """Return a substitute for a record that is too large: the standard attributes, with shortened texts."""
    kept = {name: values[name] for name in (*usual, "host") if name in values}
    short = {name: value[:_LONGEST] if isinstance(value, str) else value for name, value in kept.items()}
    short["msg"] += f"... [shortened: the record had {size} bytes, and extra fields are left out]"
    return short


def attach(logging: Any, levels: dict[str, int]) -> None:
    """Send the log records of this process to the caller; `levels` are those of the caller's loggers."""

    class Relay(logging.Handler):  # type: ignore[misc]  # its base is only known now
        """Sends records to the engine."""

        def emit(self, record: Any) -> None:
            from woolexec.wire.frames import Log, encode
            from woolexec.wire.pickling import dumps_inline

            worker = nested_tasks.worker
            if worker is None:
                return
            try:
                values = dict(record.__dict__)
                values["msg"] = record.getMessage()
                values["args"] = None
                values.setdefault("host", host_name())
                if record.exc_info:
                    formatter = logging.Formatter()
                    values["exc_text"] = record.exc_text or formatter.formatException(record.exc_info)
                    values["exc_info"] = None
                text = f"{record.levelname} {record.name}: {values['msg']}"[:500]
                try:
                    data = dumps_inline(values)
                except Exception:  # an extra that cannot be pickled
                    plain = (str, int, float, bool, type(None))
                    data = dumps_inline({k: v if isinstance(v, plain) else repr(v) for k, v in values.items()})
                if len(data) > _LARGEST:
                    data = dumps_inline(_shortened(values, len(data), logging.makeLogRecord({}).__dict__))
                job = nested_tasks.current_job()
                worker.transport.send(encode(Log(record=data, text=text, call=0 if job is None else job.number)))
            except Exception:  # as in every handler: user code in repr, full sockets
                self.handleError(record)

    root, relay, configure = logging.getLogger(), Relay(), logging.basicConfig

    def basic_config(**options: Any) -> None:
        root.removeHandler(relay)  # basicConfig does nothing if there is a handler
        try:
            configure(**options)
        finally:
            root.addHandler(relay)

    root.addHandler(relay)
    logging.basicConfig = functools.update_wrapper(basic_config, configure)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
