"""
Relay logging records to the caller's handlers.

`logging` is not imported for this (it takes 10 ms of a worker's start): a hook waits until user code imports it.
"""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder

from woolexec.worker import context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any


def install(levels: dict[str, int]) -> None:
    """Make `logging`, now or when it is imported, send its records to the caller; `levels` are those of its loggers."""
    if "logging" in sys.modules:
        _attach(sys.modules["logging"], levels)
    else:
        sys.meta_path.insert(0, _Hook(levels))  # type: ignore[arg-type]  # a finder is what has find_spec


class _Hook:
    """Finds `logging` as usual, and attaches the relay when it has been executed."""

    def __init__(self, levels: dict[str, int]) -> None:
        self._levels = levels

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != "logging":
            return None
        sys.meta_path.remove(self)  # type: ignore[arg-type]
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            execute, levels = spec.loader.exec_module, self._levels

            def exec_module(module: ModuleType) -> None:
                execute(module)
                _attach(module, levels)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _attach(logging: Any, levels: dict[str, int]) -> None:
    class Relay(logging.Handler):  # type: ignore[misc, name-defined]  # its base is only known now
        """Sends records up."""

        def emit(self, record: Any) -> None:
            from woolexec.wire.codec import Log, encode
            from woolexec.wire.pickling import dumps_inline

            worker = context.worker
            if worker is None:
                return
            try:
                values = dict(record.__dict__)
                values["msg"] = record.getMessage()
                values["args"] = None
                if record.exc_info:
                    formatter = logging.Formatter()
                    values["exc_text"] = record.exc_text or formatter.formatException(record.exc_info)
                    values["exc_info"] = None
                text = f"{record.levelname} {record.name}: {values['msg']}"[:500]
                try:
                    data = dumps_inline(values)
                except Exception:  # an extra that does not pickle
                    plain = (str, int, float, bool, type(None))
                    data = dumps_inline({k: v if isinstance(v, plain) else repr(v) for k, v in values.items()})
                worker.road.send(encode(Log(record=data, text=text)))
            except Exception:  # as every handler: user code in repr, full sockets
                self.handleError(record)

    logging.getLogger().addHandler(Relay())
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
