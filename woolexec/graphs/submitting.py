"""
Graphs as calls: each node, or group of small nodes, is submitted with the futures of the nodes that it needs.

Everything else is what `submit` does with futures among arguments: a call waits for its inputs in the core, fails and
is cancelled with them, and gets their pickled values, which this process does not unpickle.  Only the rank of a call is
new: of the calls that are ready, the one that is first in the order of its graph runs first.
"""

from __future__ import annotations

import weakref
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from itertools import count
from typing import TYPE_CHECKING, Any

from woolexec.futures.call_future import CallFuture
from woolexec.graphs.composed import function_of
from woolexec.graphs.grouping import MANY, Grouping, Piece
from woolexec.graphs.nodes import Data
from woolexec.graphs.order import Plan
from woolexec.options import TaskOptions
from woolexec.wire.atoms import SAFE
from woolexec.wire.inputs import is_future_class

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping

    from woolexec.core.call import Function
    from woolexec.graphs.composed import Code
    from woolexec.graphs.nodes import Node

_INLINE = 1 << 10
"""Maximum size, in bytes or characters, of a value that is copied into each call that needs it, instead of `put`."""

_ranks = count(1)


def submit_graph(submission: Any, options: TaskOptions | None, graph: Any, keys: Any) -> dict[Any, CallFuture[Any]]:
    """
    Submit the nodes of a graph that some keys need; return the futures by key.

    :param submission: makes calls: see `woolexec.api.submission`
    :param options: the options of the calls
    :param keys: a key, or a list of keys and such lists; None: all
    """
    if keys is None:
        keys = list(_keys_of(graph))
    graph = unfold(graph)
    wanted = list(dict.fromkeys(_flat(keys)))
    submission.check()
    plan = Plan(graph, wanted)
    futures = _Submitting(submission, options, plan, set(plan.targets)).run()
    return {key: futures[target] for key, target in zip(wanted, plan.targets, strict=True)}


def get(submission: Any, options: TaskOptions | None, graph: Any, keys: Any) -> Any:
    """
    Run the nodes of a graph that some keys need; return their values, in tuples where `keys` has lists.

    If a node fails, or this is interrupted, nodes that have not been started are cancelled.
    """
    graph = unfold(graph)
    wanted = list(dict.fromkeys(_flat(keys)))
    submission.check()
    plan = Plan(graph, wanted)
    for target in plan.targets:  # as if one more node needed all of them
        plan.uses[target] += 1
        plan.user[target] = _ALL
    submitting = _Submitting(submission, options, plan, frozenset())
    try:
        values = submitting.values_of(plan.targets)
    except BaseException:
        submitting.cancel()
        raise
    return _shaped(keys, dict(zip(wanted, values, strict=True)))


_ALL = object()


def unfold(graph: Any) -> Mapping[Any, Any]:
    """
    Return the mapping behind a graph or a collection.

    :raises TypeError: if there is none
    """
    if hasattr(graph, "__dask_graph__"):
        graph = graph.__dask_graph__()
    if hasattr(graph, "layers") and hasattr(graph, "to_dict"):
        graph = graph.to_dict()
    if not hasattr(graph, "keys") or not hasattr(graph, "__getitem__"):
        raise TypeError(f"a graph is a mapping, or an object with __dask_graph__, not {type(graph).__name__}")
    return graph if isinstance(graph, dict) else dict(graph)


def _keys_of(graph: Any) -> Iterable[Any]:
    return _flat(graph.__dask_keys__()) if hasattr(graph, "__dask_keys__") else unfold(graph)


def _flat(keys: Any) -> list[Any]:
    found: list[Any] = []
    waiting = [keys]
    while waiting:
        key = waiting.pop()
        if isinstance(key, list):
            waiting += reversed(key)
        else:
            found.append(key)
    return found


def _shaped(keys: Any, values: Mapping[Any, Any]) -> Any:
    return tuple(_shaped(each, values) for each in keys) if isinstance(keys, list) else values[keys]


class _Submitting:
    """
    Submits the nodes of a plan, in its order.

    :param wanted: the keys that need their own future
    """

    def __init__(self, submission: Any, options: TaskOptions | None, plan: Plan, wanted: Any) -> None:
        self._targets = set(plan.targets)
        self._submission = submission
        self._options = self._inner = options
        if submission.has_peers and (options is None or not options.keep):
            self._inner = TaskOptions(keep=True) if options is None else options.replace(keep=True)
        self._plan = plan
        self._wanted = wanted
        self._is_grouping = options is None or not options.is_about_calls
        self._functions: dict[Code, Function | None] = {}
        self._grouping = Grouping(self._seconds_of, self._submit)
        self._futures: list[weakref.ref[CallFuture[Any]]] = []

    def run(self) -> dict[Hashable, Any]:
        """Submit everything; return the future, value or piece of each node that is still needed."""
        plan, uses = self._plan, dict(self._plan.uses)
        values: dict[Hashable, Any] = {}
        try:
            for key in plan.order:
                node = plan.nodes.pop(key)
                if isinstance(node, Data):
                    values[key] = self._value(node.value, key)
                    continue
                piece = self._grouping.join(node, values)
                if self._may_wait(key, node, piece):
                    values[key] = piece
                else:
                    values[key] = self._submit(piece, is_target=key in self._targets)
                for needed in node.refs:
                    uses[needed] -= 1
                    if not uses[needed] and needed not in self._wanted:
                        del values[needed]  # drops the future: its value is freed with the last call that needs it
        except BaseException:
            self.cancel()
            raise
        return values

    def values_of(self, targets: list[Hashable]) -> list[Any]:
        """
        Run everything; return the values of some nodes.

        :raises Exception: what one of the nodes raised
        """
        values = self.run()
        self._inner = self._options  # what is submitted from now on are results
        pieces = {id(piece): piece for key in targets if (piece := values[key]).__class__ is Piece}
        groups = self._grouping.submit_all(list(pieces.values()))
        others = [value for value in values.values() if isinstance(value, Future)]
        futures = [future for future, _ in groups] + others
        wait(futures, return_when=FIRST_EXCEPTION)
        for future in futures:
            if future.done() and (future.cancelled() or future.exception() is not None):
                future.result()
        found: list[Any] = []
        for future, size in groups:
            found += future.result() if size else [future.result()]
        of_pieces = dict(zip(pieces, found, strict=True))

        def value_of(key: Hashable) -> Any:
            value = values[key]
            return value.result() if isinstance(value, Future) else of_pieces.get(id(value), value)

        return [value_of(key) for key in targets]

    def cancel(self) -> None:
        """Cancel the calls that have not been started."""
        for reference in reversed(self._futures):
            future = reference()
            if future is not None:
                future.cancel()

    def _may_wait(self, key: Hashable, node: Node, piece: Piece) -> bool:
        """Return whether a node is to be submitted together with the only one that needs it."""
        if not self._is_grouping or key in self._wanted or self._plan.uses[key] != 1:
            return False
        function = self._function_of(node.code)
        if function is None or function.lane or function.is_stream:
            return False
        if piece.is_short:
            return True
        user = self._plan.user[key]
        return user is not _ALL and piece.count < MANY and len(self._plan.refs_of(user)) == 1

    def _value(self, value: Any, key: Hashable) -> Any:
        """Return the substitute of a value in the graph: a future if it is, or may be, large; otherwise the value."""
        cls = value.__class__
        if is_future_class(cls):
            return value
        if key in self._wanted:
            future: CallFuture[Any] = CallFuture()
            future.deliver_ready(value)
            return future
        is_small = cls in SAFE and (cls not in (str, bytes) or len(value) < _INLINE)
        if is_small or self._plan.uses[key] < 2:
            return value
        try:
            return self._submission.put(value)
        except TypeError:  # it contains futures
            return value

    def _seconds_of(self, code: Code) -> float | None:
        function = self._function_of(code)
        return None if function is None else function.seconds

    def _function_of(self, code: Code) -> Function | None:
        """Return the pickled function for a code; None if it cannot be pickled, which its call will report."""
        try:
            return self._functions[code]
        except KeyError:
            pass
        backend = None if self._options is None else self._options.backend
        function: Function | None
        try:
            function = self._submission.functions.get(function_of(code), backend)
        except Exception:  # pickling runs user code
            function = None
        self._functions[code] = function
        return function

    def _submit(self, piece: Piece, *, is_target: bool = False) -> CallFuture[Any]:
        function = self._function_of(piece.code)
        future: CallFuture[Any] = self._submission.submit(
            function_of(piece.code),
            piece.leaves,
            {},
            self._options if is_target else self._inner,
            function=function,
            rank=next(_ranks),
        )
        self._futures.append(weakref.ref(future))
        return future
