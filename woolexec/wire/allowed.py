"""Unpickling for workers of peers that run what is on a list, and nothing else."""

from __future__ import annotations

import io
import pickle
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

ALLOW = "WOOLEXEC_WORKER_ALLOWS"
"""The variable that holds the list; set for workers of such peers alone."""

_DATA = frozenset(
    {
        *(f"builtins:{name}" for name in ("bytearray", "complex", "frozenset", "range", "set", "slice")),
        *(f"collections:{name}" for name in ("Counter", "OrderedDict", "deque")),
        *(f"datetime:{name}" for name in ("date", "datetime", "time", "timedelta", "timezone")),
        *(f"pathlib:{name}" for name in ("Path", "PosixPath", "PurePath", "PurePosixPath")),
        "decimal:Decimal",
        "fractions:Fraction",
        "uuid:UUID",
        "numpy:dtype",
        "numpy:ndarray",
        *(
            f"{package}.{name}"
            for package in ("numpy.core", "numpy._core")
            for name in ("multiarray:_reconstruct", "multiarray:scalar", "numeric:_frombuffer")
        ),
        "woolexec.errors:_rebuild",
        "woolexec.nested:current_executor",
        "woolexec.worker.job:Pickled",
    }
)
"""Types whose making does nothing but hold data."""


_EXCEPTIONS = frozenset({"builtins", "_pickle", "woolexec.errors"})
"""Modules whose exceptions are data as well."""


def _is_exception(module: str, name: str) -> bool:
    if module not in _EXCEPTIONS:
        return False
    found = getattr(sys.modules.get(module), name, None)
    return isinstance(found, type) and issubclass(found, BaseException)


def loader(names: Iterable[str]) -> Callable[..., Any]:
    """
    Return what unpickles references to these functions, and plain data.

    :param names: each as ``module:qualname``
    """
    allowed = _DATA | {*names}

    class Unpickler(pickle.Unpickler):
        """Looks nothing up that is not on the list."""

        def find_class(self, module: str, name: str) -> Any:
            """
            Look a reference up.

            :raises UnpicklingError: if it is not on the list
            """
            if f"{module}:{name}" not in allowed and not _is_exception(module, name):
                raise pickle.UnpicklingError(f"{module}:{name} is not on this peer's list (woolexec serve --allow)")
            return super().find_class(module, name)

    def load(data: Any, *, buffers: Any = None) -> Any:
        return Unpickler(io.BytesIO(data), buffers=buffers).load()

    return load
