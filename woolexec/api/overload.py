"""`typing.overload` for modules that every program imports: `typing` takes a tenth of the time of `import woolexec`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def overload(function: Any) -> Any:
    """Return the declaration unchanged; type checkers read it from the source."""
    return function
