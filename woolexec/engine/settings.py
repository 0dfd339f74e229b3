"""
The settings of this process that its workers start with, as a forked process would inherit them.

Only settings that differ from those of a fresh interpreter are sent, only for modules that the program has imported.
Settings of the program also apply in workers of peers; those of the process and of its host do not.
`woolexec.worker.settings` applies them in a worker; `docs/differences.md` lists them for users.
"""

from __future__ import annotations

import contextlib
import copyreg
import os
import sys

from woolexec.imported import imported
from woolexec.platform.posix import affinity, niceness, resource_limits
from woolexec.wire.pickling import dumps_inline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    from woolexec.core.devices import Bound

CATEGORIES = ("LC_CTYPE", "LC_COLLATE", "LC_MONETARY", "LC_NUMERIC", "LC_TIME", "LC_MESSAGES")
"""The locale categories; in a fresh interpreter all but the first are ``C``."""

_RECURSION, _FIELD_LIMIT = 1000, 131072
"""The recursion limit and the value of `csv.field_size_limit` in a fresh interpreter."""

LIMIT = 1 << 20
"""Maximum size of the settings that a client sends to a peer, in bytes."""

_LEVEL = 30
"""The level of the root logger in a fresh interpreter."""

_LEVELS = {0: "NOTSET", 10: "DEBUG", 20: "INFO", 30: "WARNING", 40: "ERROR", 50: "CRITICAL"}
_FILTERS = [
    ("default", None, DeprecationWarning, "__main__", 0),
    ("ignore", None, DeprecationWarning, None, 0),
    ("ignore", None, PendingDeprecationWarning, None, 0),
    ("ignore", None, ImportWarning, None, 0),
    ("ignore", None, ResourceWarning, None, 0),
]


def settings() -> dict[str, Any]:
    """Collect the settings that run no user code; from any thread.  Pickling them needs only builtins."""
    found: dict[str, Any] = {"recursion": sys.getrecursionlimit(), "digits": sys.get_int_max_str_digits()}
    return found | _collect(_OF_THE_PROGRAM) | _collect(_OF_THE_PROCESS)


def settings_of_process() -> dict[str, Any]:
    """Collect the settings that workers of a peer get from the peer's process; from any thread."""
    return _collect(_OF_THE_PROCESS)


def settings_of_user() -> dict[str, Any]:
    """Collect the settings of the calling thread, and pickle those whose pickling runs user code."""
    return _collect(_OF_THE_USER)


def settings_for_peers(of_user: Mapping[str, Any]) -> bytes:
    """
    Pickle the settings that apply in workers of peers; from any thread.

    :param of_user: see `settings_of_user`
    :return: empty if they are those of a fresh interpreter
    """
    found = _collect(_OF_THE_PROGRAM)
    if found.get("levels") == {"": _LEVEL}:
        del found["levels"]
    if (recursion := sys.getrecursionlimit()) != _RECURSION:
        found["recursion"] = recursion
    if (digits := sys.get_int_max_str_digits()) != sys.int_info.default_max_str_digits:
        found["digits"] = digits
    of_user = {name: of_user[name] for name in _OF_THE_USER if name in of_user}
    if not found and not of_user:
        return b""
    payload = dumps_inline({**found, **of_user})
    if len(payload) <= LIMIT:
        return payload
    logging = imported("logging")
    if logging is not None:
        names = "the reducers of copyreg and the class of loggers"
        logging.getLogger("woolexec").warning("%s are too large to be sent to peers: %d bytes", names, len(payload))
    return dumps_inline(found)


def _collect(table: dict[str, Callable[[], Any]]) -> dict[str, Any]:
    found = {}
    for name, collect in table.items():
        with contextlib.suppress(Exception):  # other threads may change these; user classes may raise anything
            value = collect()
            if value is not None:
                found[name] = value
    return found


def _decimal() -> tuple[Any, ...] | None:
    """Describe this thread's decimal context or, if that is unchanged, the default context; None if both are."""
    decimal = imported("decimal")
    if decimal is None:
        return None
    fresh = _as_values(decimal.Context(28, decimal.ROUND_HALF_EVEN, -999999, 999999, 1, 0, [], _traps(decimal)))
    for context in (decimal.getcontext(), decimal.DefaultContext):
        if (values := _as_values(context)) != fresh:
            return values
    return None


def _traps(decimal: Any) -> list[Any]:
    return [decimal.InvalidOperation, decimal.DivisionByZero, decimal.Overflow]


def _as_values(context: Any) -> tuple[Any, ...]:
    traps = tuple(signal.__name__ for signal, is_on in context.traps.items() if is_on)
    return context.prec, context.rounding, context.Emin, context.Emax, context.capitals, context.clamp, traps


def _warning_filters() -> list[tuple[Any, ...]] | None:
    warnings = imported("warnings")
    if warnings is None or warnings.filters == _FILTERS:
        return None
    return [
        (action, _pattern(message), (category.__module__, category.__qualname__), _pattern(module), line)
        for action, message, category, module, line in list(warnings.filters)
    ]


def _pattern(pattern: Any) -> Any:
    return pattern if pattern is None or isinstance(pattern, str) else (pattern.pattern, pattern.flags)


def _field_limit() -> int | None:
    csv = imported("_csv")
    limit = _FIELD_LIMIT if csv is None else csv.field_size_limit()
    return None if limit == _FIELD_LIMIT else limit


def _socket_timeout() -> float | None:
    socket = imported("_socket")
    return None if socket is None else socket.getdefaulttimeout()


def _locale() -> dict[str, str] | None:
    locale = imported("locale")
    if locale is None:
        return None
    found = {name: locale.setlocale(getattr(locale, name)) for name in CATEGORIES if hasattr(locale, name)}
    fresh = dict.fromkeys(found, "C")
    for name in ("LANG", "LC_CTYPE", "LC_ALL"):  # the last one that is set counts
        fresh["LC_CTYPE"] = os.environ.get(name) or fresh["LC_CTYPE"]
    return None if found == fresh else found


def _reducers() -> list[tuple[str, str, bytes]] | None:
    """Collect the reducers registered with `copyreg` by a package other than that of the class."""
    found = []
    for cls, reducer in _foreign_reducers():
        with contextlib.suppress(Exception):  # one that cannot be pickled does not affect the others
            found.append((cls.__module__, cls.__qualname__, dumps_inline((cls, reducer))))
    return found or None


def _foreign_reducers() -> Iterator[tuple[type, Any]]:
    for cls, reducer in list(copyreg.dispatch_table.items()):
        owner = getattr(reducer, "__module__", None) or ""
        is_own = owner.partition(".")[0] in (cls.__module__.partition(".")[0], "copyreg")
        if not is_own or owner == "__main__":
            yield cls, reducer


def _log_levels() -> dict[str, int] | None:
    logging = imported("logging")
    if logging is None:
        return None
    levels = {"": int(logging.getLogger().level)}  # a member of an enumeration may be one of the program's own
    for name, logger in list(logging.Logger.manager.loggerDict.items()):
        level = getattr(logger, "level", 0)
        if level:
            levels[str(name)] = int(level)
    return levels


def _level_names() -> dict[int, str] | None:
    logging = imported("logging")
    if logging is None:
        return None
    names = list(logging._levelToName.items())
    return {int(level): str(name) for level, name in names if _LEVELS.get(level) != name} or None


def _logger_class() -> bytes | None:
    logging = imported("logging")
    if logging is None or logging.getLoggerClass() is logging.Logger:
        return None
    return dumps_inline(logging.getLoggerClass())


def _disabled_level() -> int | None:
    logging = imported("logging")
    return None if logging is None else int(logging.root.manager.disable) or None


def _process() -> tuple[Any, ...] | None:
    """Return the identity of this process in `multiprocessing`, for the names of its children."""
    process = imported("multiprocessing.process")
    if process is None:
        return None
    here = process.current_process()
    return here.name, tuple(here._identity), os.getpid()


def _coverage() -> str | None:
    """Return the configuration of coverage.py, if it measures the child processes of `multiprocessing`."""
    if imported("coverage.multiproc") is None or not hasattr(imported("multiprocessing"), "_coverage$patched"):
        return None
    return os.environ.get("COVERAGE_RCFILE", "")


def _affinity() -> tuple[int, ...] | None:
    cpus = affinity(os.getpid())
    return None if cpus is None else tuple(cpus)


_OF_THE_PROGRAM: dict[str, Callable[[], Any]] = {
    "warnings": _warning_filters,
    "csv": _field_limit,
    "socket": _socket_timeout,
    "locale": _locale,
    "levels": _log_levels,
    "level_names": _level_names,
    "disabled": _disabled_level,
}
_OF_THE_PROCESS: dict[str, Callable[[], Any]] = {
    "process": _process,
    "coverage": _coverage,
    "nice": niceness,
    "affinity": _affinity,
    "limits": resource_limits,
}
_OF_THE_USER: dict[str, Callable[[], Any]] = {
    "decimal": _decimal,
    "reducers": _reducers,
    "logger_class": _logger_class,
}


def with_devices(of_user: Mapping[str, Any], devices: Bound) -> dict[str, Any]:
    """Return the settings of a worker with devices, derived from those of other workers: it sees only its devices."""
    from woolexec.engine.gpus import variables_of  # most programs have none

    return {**of_user, "environment": {**of_user.get("environment", {}), **variables_of(devices.names, os.environ)}}
