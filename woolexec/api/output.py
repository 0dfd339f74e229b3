"""The parameters `output` and `prefix` of an executor: where the output of tasks goes."""

from __future__ import annotations

from contextvars import copy_context

from woolexec.checks import wrong_type
from woolexec.futures.call_future import CallFuture
from woolexec.imported import imported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    from woolexec.engine.engine import Engine

    T = TypeVar("T")


class OutputChoice:
    """
    The checked parameters.

    :raises ValueError: for a value out of range
    :raises TypeError: for a value of the wrong type
    """

    def __init__(self, output: Any, prefix: Any, *, has_peers: bool) -> None:
        if not isinstance(output, str | None):
            raise wrong_type("output", "'auto', 'caller' or None", output)
        if output not in ("auto", "caller", None):
            raise ValueError(f"output must be 'auto', 'caller' or None, not {output!r}")
        _check_prefix(prefix)
        self._prefix = prefix
        self.is_in_notebook = output is not None and _in_notebook()
        self._in_workers = output == "caller" or self.is_in_notebook
        self._at_peers = output is not None and has_peers

    @property
    def future(self) -> type[CallFuture[Any]]:
        """The class of the futures: in a notebook they know the cell that submitted their tasks."""
        return CellFuture if self.is_in_notebook else CallFuture

    def connect(self, engine: Engine, *, trusts_peers: bool) -> None:
        """Connect an engine's output accordingly."""
        if self._in_workers or self._at_peers:
            engine.show_output(
                self._prefix, escapes=not trusts_peers, in_workers=self._in_workers, at_peers=self._at_peers
            )


class CellFuture(CallFuture["T"]):
    """
    The future of a task that was submitted in a cell of a notebook.

    :ivar shown_in: the context of the cell, by which the kernel knows the cell that output belongs to
    """

    def __init__(self, owner: Any = None) -> None:
        super().__init__(owner)
        self.shown_in = copy_context()


def _check_prefix(prefix: Any) -> None:
    if not isinstance(prefix, str | None):
        raise wrong_type("prefix", "'auto', a str with fields, or None", prefix)
    try:
        if prefix is not None:
            prefix.format(name="", task=0, pid=0, host="")
    except (LookupError, TypeError, ValueError, AttributeError) as exc:
        fields = "{name}, {task}, {pid} and {host}"
        raise ValueError(f"prefix may only have the fields {fields}: {prefix!r}") from exc


def _in_notebook() -> bool:
    """Return whether this program is the kernel of a Jupyter notebook."""
    ipython = imported("IPython")
    try:
        return ipython is not None and hasattr(ipython.get_ipython(), "kernel")
    except Exception:  # another module of this name
        return False
