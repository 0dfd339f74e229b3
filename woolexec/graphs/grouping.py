"""
Which nodes run in one call.

A call costs more than a small node, so small nodes are run together where that loses neither parallelism nor a result:

- a node that only one other node needs runs with that node, if that needs nothing else, or if both are known to be
  short;
- if one node needs too many such nodes, several of these run together.  Their call returns all their values.

Whether nodes are short is measured: the first ones of each kind run alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from woolexec.graphs.composed import SPREAD, TUPLE
from woolexec.graphs.nodes import Ref

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    from woolexec.graphs.composed import Code
    from woolexec.graphs.nodes import Node

SHORT = 0.0003
"""Maximum expected run time, in seconds, of nodes that are run together: ten times the cost of a call."""

MANY = 128
"""Maximum number of nodes in a call."""


class Piece:
    """
    Nodes that run in one call, and have not been submitted.

    :param code: their code, see `woolexec.graphs.composed`
    :param leaves: its arguments
    :param count: how many nodes
    :param seconds: the expected run time; None: not known
    """

    __slots__ = ("code", "count", "leaves", "seconds")

    def __init__(self, code: Code, leaves: list[Any], count: int, seconds: float | None) -> None:
        self.code = code
        self.leaves = leaves
        self.count = count
        self.seconds = seconds

    @property
    def is_short(self) -> bool:
        """Whether it may be run together with others."""
        return self.seconds is not None and self.seconds < SHORT and self.count < MANY


class Grouping:
    """
    Joins nodes.

    :param seconds_of: returns the measured run time of a code; None: not known
    :param submit: submits a piece; returns its future
    """

    def __init__(self, seconds_of: Callable[[Code], float | None], submit: Callable[[Piece], Any]) -> None:
        self._seconds_of = seconds_of
        self._submit = submit

    def join(self, node: Node, values: Mapping[Hashable, Any]) -> Piece:
        """
        Make a piece of a node and, where that is worth while, of those that it needs; submit the others.

        :param values: for each node that it needs, by key: a piece if only this node needs it, otherwise a value or a
            future
        """
        seconds = self._seconds_of(node.code)
        if node.repeats:  # the value that occurs twice is one object
            values = {
                key: self._submit(value) if (value := values[key]).__class__ is Piece else value for key in node.refs
            }
        pieces = [piece for key in node.refs if (piece := values[key]).__class__ is Piece]
        if not pieces:
            leaves = [values[leaf.key] if leaf.__class__ is Ref else leaf for leaf in node.leaves]
            return Piece(node.code, leaves, 1, seconds)
        count = 1 + sum(piece.count for piece in pieces)
        inner = [piece.seconds for piece in pieces]
        total = None if None in inner else sum(inner)  # type: ignore[arg-type]  # there is no None
        joins = count <= MANY and (len(node.refs) == 1 or (total is not None and total < SHORT and seconds is not None))
        code, leaves = _Joining(values, None if joins else self.submit_all).join(node)
        if not joins:
            return Piece(code, leaves, 1, seconds if code == node.code else None)
        return Piece(code, leaves, count, None if total is None or seconds is None else total + seconds)

    def submit_all(self, pieces: list[Piece]) -> list[tuple[Any, int]]:
        """Submit pieces; return the futures, each with the number of values in its tuple; 0 if it is not a tuple."""
        futures = []
        group: list[Piece] = []
        seconds, count = 0.0, 0
        for piece in pieces:
            if not piece.is_short or seconds + piece.seconds > SHORT or count + piece.count > MANY:  # type: ignore[operator]
                futures += self._submit_group(group)
                group, seconds, count = [], 0.0, 0
            group.append(piece)
            seconds += SHORT if piece.seconds is None else piece.seconds
            count += piece.count
        return futures + self._submit_group(group)

    def _submit_group(self, group: list[Piece]) -> list[tuple[Any, int]]:
        if len(group) < 2:
            return [(self._submit(piece), 0) for piece in group]
        code: list[Any] = []
        leaves: list[Any] = []
        for piece in group:
            code += piece.code
            leaves += piece.leaves
        code.append((TUPLE, len(group)))
        seconds = sum(piece.seconds or 0.0 for piece in group)
        return [(self._submit(Piece(tuple(code), leaves, len(group), seconds)), len(group))]


class _Joining:
    """
    Replaces references by pieces.

    :param submit_all: submits adjacent pieces; None: they become part of the code
    """

    def __init__(self, values: Mapping[Hashable, Any], submit_all: Callable[[list[Piece]], Any] | None) -> None:
        self._values = values
        self._submit_all = submit_all
        self._code: list[Any] = []
        self._leaves: list[Any] = []
        self._adjacent: list[Piece] = []

    def join(self, node: Node) -> tuple[Code, list[Any]]:
        """Return the code and the arguments of a node with the pieces."""
        values, rest = self._values, iter(node.leaves)
        for step in node.code:
            leaf = next(rest) if step is None else None
            value = values[leaf.key] if leaf.__class__ is Ref else leaf
            if value.__class__ is not Piece:
                self._flush()
                self._code.append(step)
                if step is None:
                    self._leaves.append(value)
            elif self._submit_all is None:
                self._code += value.code
                self._leaves += value.leaves
            else:
                self._adjacent.append(value)
        self._flush()
        return tuple(self._code), self._leaves

    def _flush(self) -> None:
        if self._adjacent and self._submit_all is not None:
            for future, count in self._submit_all(self._adjacent):
                self._leaves.append(future)
                self._code.append(None)
                if count:
                    self._code.append((SPREAD, count))
            self._adjacent = []
