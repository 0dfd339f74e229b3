"""
Apply the caller's settings in a worker that starts: see `woolexec.engine.settings`.

The settings of a module are applied when it is imported, so that they do not slow the start of a worker that never
uses it.
"""

from __future__ import annotations

import os
import sys

from woolexec.imported import imported
from woolexec.platform.posix import set_affinity, set_niceness, set_resource_limits
from woolexec.worker import import_hooks, log_relay

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pickle
    from collections.abc import Callable
    from typing import Any
else:  # faster to import: see `worker/fork_server.py`
    import _pickle as pickle


_CLOUDPICKLE = "cloudpickle.cloudpickle"
"""The module that loads classes that are pickled by value; it imports `logging`."""


def apply(settings: dict[str, Any], number: int, lifeline: int) -> None:
    """
    Apply the settings in this process.

    :param settings: of the process that starts this worker and, as ``client``, pickled, those of the client it serves
    :param number: number of this worker
    :param lifeline: a descriptor that becomes readable when the caller is gone; -1: there is none
    """
    if settings.get("client"):
        settings = settings | _of_client(settings["client"])
    if "recursion" in settings:
        sys.setrecursionlimit(settings["recursion"])
    if "digits" in settings:
        sys.set_int_max_str_digits(settings["digits"])
    import_hooks.when_imported("logging", lambda logging: _set_up_logging(logging, settings))
    import_hooks.when_imported(
        "multiprocessing.process", lambda process: _introduce(process, settings, number, lifeline)
    )
    if "logger_class" in settings:
        import_hooks.when_imported(
            _CLOUDPICKLE, lambda _: _set_logger_class(sys.modules["logging"], settings["logger_class"])
        )
    for name, act in _ACTS.items():
        if name in settings:
            try:
                act(settings[name])
            except (OSError, ValueError):  # not permitted to this process, or not available on this host
                pass


_OF_CLIENT = {
    *("recursion", "digits", "warnings", "csv", "socket", "locale", "levels", "level_names", "disabled"),
    *("decimal", "reducers", "logger_class"),
}
"""Settings that a client may apply to its workers at a peer: none that concern the process or the host."""


def _of_client(payload: bytes) -> dict[str, Any]:
    try:
        found = pickle.loads(payload)  # only builtins; unpickled here, because this worker belongs to the client alone
        return {name: found[name] for name in _OF_CLIENT if name in found}
    except Exception:  # from another version of woolexec: the worker does without them
        return {}


def _set_up_logging(logging: Any, settings: dict[str, Any]) -> None:
    for level, name in settings.get("level_names", {}).items():
        logging.addLevelName(level, name)
    if "logger_class" in settings and (_CLOUDPICKLE not in sys.modules or imported(_CLOUDPICKLE) is not None):
        _set_logger_class(logging, settings["logger_class"])  # otherwise cloudpickle is importing `logging`
    if "disabled" in settings:
        logging.disable(settings["disabled"])
    log_relay.attach(logging, settings.get("levels", {}))


def _set_logger_class(logging: Any, payload: bytes) -> None:
    from woolexec.wire.unpickling import loads

    try:
        logging.setLoggerClass(loads(payload))
    except Exception:  # user code: their tasks report what is missing
        pass


def _introduce(process: Any, settings: dict[str, Any], number: int, lifeline: int) -> None:
    """Make this process a child of the caller to `multiprocessing`, as the standard library's workers are."""
    if "authkey" in settings:
        process.current_process().authkey = settings["authkey"]
    name, identity, pid = settings.get("process", ("MainProcess", (), os.getppid()))
    here = process.current_process()
    here._identity = (*identity, number)
    here._name = "PeerPoolProcess-" + ":".join(map(str, here._identity))
    process._parent_process = process._ParentProcess(name, pid, lifeline)


# -- settings that are applied at once ------------------------------------------------------------------------------


def _set_warning_filters(filters: list[tuple[Any, ...]]) -> None:
    """Fill the list of filters that the interpreter uses, and that `warnings` adopts when it is imported."""
    import _warnings

    _warnings.filters[:] = [  # the same list as `warnings.filters`
        (action, _as_pattern(message), _as_category(*category), _as_pattern(module), line)
        for action, message, category, module, line in filters
    ]


class _Pattern:
    """A regular expression that is compiled when it is needed: importing `re` takes 5 ms."""

    def __init__(self, pattern: str, flags: int) -> None:
        self._of = pattern, flags
        self._compiled: Any = None

    def __getattr__(self, name: str) -> Any:
        if self._compiled is None:
            import re

            self._compiled = re.compile(*self._of)
        return getattr(self._compiled, name)


def _as_pattern(pattern: Any) -> Any:
    return _Pattern(*pattern) if pattern.__class__ is tuple else pattern


class _ByName(type):
    """Metaclass of placeholders for warning categories, so that the modules of these need not be imported."""

    names: tuple[str, str]

    def __subclasscheck__(cls, other: type) -> bool:
        return any((base.__module__, base.__qualname__) == cls.names for base in other.__mro__)


def _as_category(module: str, name: str) -> type:
    if module == "builtins":
        import builtins

        return getattr(builtins, name)  # type: ignore[no-any-return]  # a class
    made = _ByName(name, (Warning,), {"__module__": module})
    made.names = module, name
    return made


def _set_locale(values: dict[str, str]) -> None:
    import _locale

    for name, value in values.items():
        try:
            _locale.setlocale(getattr(_locale, name), value)
        except (AttributeError, ValueError, _locale.Error):  # type: ignore[attr-defined]  # this host lacks the locale
            pass


def _start_coverage(configuration: str) -> None:
    """Start coverage here as the caller's coverage starts it in children of `multiprocessing`."""
    from importlib import import_module

    variable = "COVERAGE_PROCESS_START"
    before = os.environ.get(variable)
    os.environ[variable] = configuration
    try:
        import_module("coverage").process_startup()  # does nothing if it is already running
    finally:
        if before is None:
            del os.environ[variable]
        else:
            os.environ[variable] = before


# -- settings that are applied when a module is imported ------------------------------------------------------------


def _set_field_limit(limit: int) -> None:
    import_hooks.when_imported("_csv", lambda csv: csv.field_size_limit(limit))


def _set_socket_timeout(timeout: float) -> None:
    # Only then: this process's own sockets, which are created before, must have no timeout.
    import_hooks.when_imported("socket", lambda socket: socket.setdefaulttimeout(timeout))


def _set_decimal_context(values: tuple[Any, ...]) -> None:
    import_hooks.when_imported("decimal", lambda decimal: _change_default(decimal, values))


def _change_default(decimal: Any, values: tuple[Any, ...]) -> None:
    """Change the context from which each thread of this process creates its own."""
    default = decimal.DefaultContext
    default.prec, default.rounding, default.Emin, default.Emax, default.capitals, default.clamp, traps = values
    for signal in default.traps:
        default.traps[signal] = signal.__name__ in traps


def _register_reducers(reducers: list[tuple[str, str, bytes]]) -> None:
    for module, name, payload in reducers:
        # A class that is pickled by value needs cloudpickle to load it.
        by_value = module == "__main__" or "<locals>" in name
        import_hooks.when_imported(_CLOUDPICKLE if by_value else module, _registering(payload))


def _registering(payload: bytes) -> Callable[[Any], None]:
    def register(_: Any) -> None:
        import copyreg

        from woolexec.wire.unpickling import loads

        try:
            cls, reducer = loads(payload)
        except Exception:  # user code: their tasks report what is missing
            return
        copyreg.pickle(cls, reducer)

    return register


_ACTS: dict[str, Callable[[Any], None]] = {
    "environment": os.environ.update,
    "warnings": _set_warning_filters,
    "locale": _set_locale,
    "nice": set_niceness,
    "affinity": set_affinity,
    "limits": set_resource_limits,
    "coverage": _start_coverage,
    "csv": _set_field_limit,
    "socket": _set_socket_timeout,
    "decimal": _set_decimal_context,
    "reducers": _register_reducers,
}
