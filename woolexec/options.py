"""What a task may ask for beside its function and arguments."""

from __future__ import annotations

import math

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class TaskOptions:
    """
    Options of a task; immutable.  See `PeerPoolExecutor.with_options` for their meaning.

    :raises ValueError: for a value out of range
    :raises TypeError: for a value of the wrong type
    """

    __slots__ = ("idempotent", "name", "retries", "retry_on_names", "timeout")

    timeout: float | None
    retries: int
    retry_on_names: frozenset[str]
    idempotent: bool
    name: str | None

    def __init__(
        self,
        *,
        timeout: float | None = None,
        retries: int = 0,
        retry_on: type[BaseException] | Iterable[type[BaseException]] = (),
        idempotent: bool = False,
        name: str | None = None,
    ) -> None:
        if timeout is not None and not (isinstance(timeout, int | float) and timeout > 0 and not math.isnan(timeout)):
            raise ValueError(f"timeout must be a number of seconds above 0, or None: {timeout!r}")
        if not isinstance(retries, int) or isinstance(retries, bool):
            raise TypeError(f"retries must be an int: {retries!r}")
        if retries < 0:
            raise ValueError(f"retries must not be negative: {retries}")
        if name is not None and not isinstance(name, str):
            raise TypeError(f"name must be a str: {name!r}")
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

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("TaskOptions is immutable")

    @classmethod
    def restore(
        cls, timeout: float | None, retries: int, names: Iterable[str], *, idempotent: bool, name: str | None
    ) -> TaskOptions:
        """Make options whose `retry_on` is already given by name, as they arrive in a frame."""
        options = cls(timeout=timeout, retries=retries, idempotent=idempotent, name=name)
        object.__setattr__(options, "retry_on_names", frozenset(names))
        return options

    def replace(self, **changes: object) -> TaskOptions:
        """Make a copy with some options changed."""
        values = {name: getattr(self, name) for name in ("timeout", "retries", "idempotent", "name")}
        options = TaskOptions(**{**values, **changes})
        if "retry_on" not in changes:
            object.__setattr__(options, "retry_on_names", self.retry_on_names)
        return options

    @property
    def is_default(self) -> bool:
        """Nothing was asked for."""
        return (
            self.timeout is None
            and not self.retries
            and not self.retry_on_names
            and not self.idempotent
            and self.name is None
        )
