"""
Which nodes of a graph are needed, and the best order to run them in: depth first.

A node comes right after the nodes that it needs.  Of these, the one whose computation needs the most values at a time
comes first, as Sethi and Ullman (1970) number the registers of an expression.  So values are used soon after they are
made, and few exist at the same time; see https://github.com/dask/distributed/issues/6360 for what happens otherwise.
"""

from __future__ import annotations

from graphlib import CycleError
from typing import TYPE_CHECKING, Any

from woolexec.graphs.nodes import Alias, Data, Node, NodeReader, Ref

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping

    Key = Hashable


class Plan:
    """
    The nodes that some keys need.

    :param graph: values by key
    :param keys: the keys that are requested
    :raises CycleError: if the graph has a cycle
    :raises KeyError: if a key is missing
    """

    def __init__(self, graph: Mapping[Any, Any], keys: Iterable[Any]) -> None:
        self.nodes: dict[Key, Node | Data] = {}
        self.uses: dict[Key, int] = {}
        """For each node, the number of nodes that need it."""
        self.user: dict[Key, Key] = {}
        """For each node, the last node that needs it."""
        self._graph = graph
        self._reader = NodeReader(graph)
        self._aliases: dict[Key, Key] = {}
        self._room: dict[Key, int] = {}
        for key in keys:
            if key not in graph:
                raise KeyError(f"{key!r} is requested, but is not in the graph")
        self.targets = [self._find(key) for key in keys]
        """The node that each key stands for: aliases are followed."""
        self.order: list[Key] = []
        """All needed nodes, in the order in which they are to be run."""
        for visit in (_Finding(self), _Ordering(self)):
            for target in self.targets:
                self._walk(target, visit)
        del self._room, self._aliases, self._reader

    def _find(self, key: Key) -> Key:
        """Read the node with a key that is in the graph; return its key, with aliases resolved."""
        if key in self.nodes:
            return key
        path = []
        while key not in self._aliases:
            path.append(key)
            node = self._reader.read(self._graph[key])
            if not isinstance(node, Alias):
                self.nodes[key] = node
                self.uses[key] = 0
                self._aliases[key] = key
                break
            if node.key in path:
                raise CycleError("nodes in a graph need each other", [*path[path.index(node.key) :], node.key])
            self._check(node.key, key)
            key = node.key
        found = self._aliases[key]
        self._aliases.update(dict.fromkeys(path, found))
        return found

    def _check(self, needed: Key, key: Key) -> None:
        if needed not in self._graph:
            raise KeyError(f"node {key!r} of the graph needs {needed!r}, which is not in the graph")

    def refs_of(self, key: Key) -> tuple[Key, ...]:
        """Return the keys of the nodes that a node needs."""
        node = self.nodes[key]
        return node.refs if isinstance(node, Node) else ()

    def resolve(self, key: Key) -> tuple[Key, ...]:
        """Read the nodes that a node needs; return their keys."""
        node = self.nodes[key]
        if isinstance(node, Data):
            return ()
        for needed in node.refs:
            if needed not in self.nodes:
                self._check(needed, key)
                self._find(needed)
        if any(self._aliases[needed] != needed for needed in node.refs):
            for leaf in node.leaves:
                if leaf.__class__ is Ref:
                    leaf.key = self._aliases[leaf.key]
            node.refer()
        for needed in node.refs:
            self.uses[needed] += 1
            self.user[needed] = key
        return node.refs

    def measure(self, key: Key) -> None:
        """Note the minimum number of values that must exist at a time to compute that of a node."""
        refs = self.refs_of(key)
        if len(refs) < 2:
            self._room[key] = max(1, self._room[refs[0]]) if refs else 1
            return
        rooms = sorted((self._room[each] for each in refs), reverse=True)
        self._room[key] = max(room + at for at, room in enumerate(rooms))

    def sorted_refs(self, key: Key) -> tuple[Key, ...]:
        """Return the nodes that a node needs, in the best order to run them."""
        refs = self.refs_of(key)
        if len(refs) < 2:
            return refs
        return tuple(sorted(refs, key=self._room.__getitem__, reverse=True))

    def _walk(self, start: Key, visit: _Finding | _Ordering) -> None:
        """Visit a node and all nodes that it needs, each after those that it needs itself."""
        done = visit.done
        if start in done:
            return
        path, on_path = [(start, iter(visit.begin(start)))], {start}
        while path:
            key, rest = path[-1]
            for needed in rest:
                if needed in on_path:
                    cycle = [each for each, _ in path]
                    raise CycleError("nodes in a graph need each other", [*cycle[cycle.index(needed) :], needed])
                if needed not in done:
                    refs = visit.begin(needed)
                    if not refs:
                        visit.end(needed)
                        continue
                    path.append((needed, iter(refs)))
                    on_path.add(needed)
                    break
            else:
                path.pop()
                on_path.remove(key)
                visit.end(key)


class _Finding:
    """Reads the nodes, and measures them."""

    def __init__(self, plan: Plan) -> None:
        self.done = plan._room
        self.begin, self.end = plan.resolve, plan.measure


class _Ordering:
    """Puts them in order."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.done: set[Key] = set()
        self.begin = plan.sorted_refs

    def end(self, key: Key) -> None:
        """Add a node to the order."""
        self.done.add(key)
        self._plan.order.append(key)
