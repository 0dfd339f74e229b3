"""What a task may ask for beside its function and arguments."""

from __future__ import annotations

import math

from woolexec.requirement import Line, Requirement

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any


BACKENDS = ("asyncio", "trio", None)


class TaskOptions:
    """
    Options of a task; immutable.  See `PeerPoolExecutor.with_options` for their meaning.

    :raises ValueError: for a value out of range
    :raises TypeError: for a value of the wrong type
    """

    __slots__ = (
        "abandon_on_cancel",
        "backend",
        "context_back",
        "idempotent",
        "line",
        "name",
        "near",
        "priority",
        "require",
        "retries",
        "retry_on_names",
        "timeout",
    )

    timeout: float | None
    retries: int
    retry_on_names: frozenset[str]
    idempotent: bool
    name: str | None
    abandon_on_cancel: bool
    context_back: bool
    backend: str | None
    require: Requirement | None
    near: str
    priority: int
    line: Line | None
    """Where it waits."""

    def __init__(
        self,
        *,
        timeout: float | None = None,
        retries: int = 0,
        retry_on: type[BaseException] | Iterable[type[BaseException]] = (),
        idempotent: bool = False,
        name: str | None = None,
        abandon_on_cancel: bool = False,
        context_back: bool = False,
        backend: str | None = None,
        require: Mapping[str, float | str] | Requirement | None = None,
        near: str = "",
        priority: int = 0,
    ) -> None:
        if timeout is not None and not (isinstance(timeout, int | float) and timeout > 0 and not math.isnan(timeout)):
            raise ValueError(f"timeout must be a number of seconds above 0, or None: {timeout!r}")
        if not isinstance(retries, int) or isinstance(retries, bool):
            raise TypeError(f"retries must be an int: {retries!r}")
        if retries < 0:
            raise ValueError(f"retries must not be negative: {retries}")
        if name is not None and not isinstance(name, str):
            raise TypeError(f"name must be a str: {name!r}")
        if not isinstance(near, str):
            raise TypeError(f"near must be a str: {near!r}")
        if not isinstance(priority, int) or isinstance(priority, bool):
            raise TypeError(f"priority must be an int: {priority!r}")
        if not -(1 << 31) <= priority < 1 << 31:
            raise ValueError(f"priority must fit into 32 bits: {priority}")
        if not isinstance(require, Requirement | None):
            require = Requirement(require) if require else None
        if backend not in BACKENDS:
            raise ValueError(f"backend must be 'asyncio', 'trio' or None: {backend!r}")
        types = (retry_on,) if isinstance(retry_on, type) else tuple(retry_on)
        for cls in types:
            if not (isinstance(cls, type) and issubclass(cls, BaseException)):
                raise TypeError(f"retry_on takes exception classes: {cls!r}")
        set_ = object.__setattr__
        set_(self, "timeout", timeout)
        set_(self, "retries", retries)
        set_(self, "retry_on_names", frozenset(f"{cls.__module__}:{cls.__qualname__}" for cls in types))
        set_(self, "idempotent", bool(idempotent))
        set_(self, "name", name)
        set_(self, "abandon_on_cancel", bool(abandon_on_cancel))
        set_(self, "context_back", bool(context_back))
        set_(self, "backend", backend)
        set_(self, "require", require)
        set_(self, "near", near)
        set_(self, "priority", priority)
        set_(self, "line", Line(priority, require, near) if require or near or priority else None)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("TaskOptions is immutable")

    @classmethod
    def restore(cls, names: Iterable[str], **values: Any) -> TaskOptions:
        """Make options whose `retry_on` is already given by name, as they arrive in a frame."""
        options = cls(**values)
        object.__setattr__(options, "retry_on_names", frozenset(names))
        return options

    def replace(self, **changes: Any) -> TaskOptions:
        """Make a copy with some options changed."""
        values = {name: getattr(self, name) for name in _DEFAULTS}
        options = TaskOptions(**{**values, **changes})
        if "retry_on" not in changes:
            object.__setattr__(options, "retry_on_names", self.retry_on_names)
        return options

    @property
    def is_about_calls(self) -> bool:
        """They say when a call is ended, or started again."""
        return self.timeout is not None or self.retries > 0 or self.idempotent

    @property
    def is_default(self) -> bool:
        """Nothing was asked for."""
        return not self.retry_on_names and all(getattr(self, name) == value for name, value in _DEFAULTS.items())


_DEFAULTS = {
    "timeout": None,
    "retries": 0,
    "idempotent": False,
    "name": None,
    "abandon_on_cancel": False,
    "context_back": False,
    "backend": None,
    "require": None,
    "near": "",
    "priority": 0,
}
