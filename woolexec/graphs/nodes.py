"""
The nodes of a graph: how the values of its mapping are read.

::

    (fn, arg, ...)            a call; arguments that are keys, at any depth of containers and calls, are references
    a key                     an alias of that node
    a container with these    a call that makes the container
    a node of dask            by its attributes: `target`, `value`, `func`; anything else with `dependencies` is called
                              with a dictionary of their values
    anything else             a value
"""

from __future__ import annotations

from types import BuiltinFunctionType, FunctionType, MethodDescriptorType
from typing import TYPE_CHECKING, Any

from woolexec.class_attributes import defines
from woolexec.graphs.composed import CALL, CONTAINERS, DICT, NODE
from woolexec.wire.atoms import SAFE

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Hashable

    from woolexec.graphs.composed import Code

KEYS = frozenset({str, int, float, tuple})
"""Types of keys.  An object of another type is not a reference, even if it equals a key, as True equals 1."""

_DASK = "dask._task_spec"


class Ref:
    """A reference to another node, among the arguments of a node."""

    __slots__ = ("key",)

    def __init__(self, key: Hashable) -> None:
        self.key = key


class Alias:
    """A node that is an alias of another node."""

    __slots__ = ("key",)

    def __init__(self, key: Hashable) -> None:
        self.key = key


class Data:
    """A node that is a value."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class Node:
    """
    A node that is a call.

    :param code: its code, see `woolexec.graphs.composed`
    :param leaves: the arguments of the code: values and references
    """

    __slots__ = ("code", "leaves", "refs", "repeats")

    def __init__(self, code: Code, leaves: list[Any]) -> None:
        self.code = code
        self.leaves = leaves
        self.refer()

    def refer(self) -> None:
        """Note which nodes its arguments refer to."""
        refs = [leaf.key for leaf in self.leaves if leaf.__class__ is Ref]
        self.refs = tuple(dict.fromkeys(refs) if len(refs) > 1 else refs)
        """The keys of the nodes that it refers to."""
        self.repeats = len(self.refs) < len(refs)
        """Whether it refers to one of them more than once."""


class NodeReader:
    """
    Reads the nodes of one graph.

    :param keys: the keys of the graph
    """

    def __init__(self, keys: Container[Any]) -> None:
        self._keys = keys
        self._seen: dict[int, Any] = {}
        self._kinds: dict[type, Any] = {}
        self._codes: dict[Any, Code] = {}
        self._code: list[Any] = []
        self._leaves: list[Any] = []
        self._effects = 0  # how many references and calls have been met

    def read(self, value: Any) -> Node | Alias | Data:
        """Return the node that a value of the graph's mapping stands for."""
        if value.__class__ is tuple and value and callable(value[0]):
            return self._read_simple(value) or self._compile(value)
        if value.__class__ in KEYS and self._is_key(value):
            return Alias(value)
        kind = self.kind_of(value.__class__)
        if kind is _alias:
            return Alias(value.target)
        if kind is _data:
            return Data(value.value)
        if kind is None and value.__class__ not in CONTAINERS and not isinstance(value, tuple):
            return Data(value)
        node = self._compile(value)
        return Data(node.leaves[0]) if node.code == (None,) else node

    def _is_key(self, value: Any) -> bool:
        try:
            return value in self._keys
        except TypeError:  # a tuple with an unhashable element
            return False

    def _read_simple(self, task: tuple[Any, ...]) -> Node | None:
        """Read a call whose arguments are neither containers nor calls: the usual case, in a third of the time."""
        keys = self._keys
        leaves: list[Any] = []
        for arg in task[1:]:
            cls = arg.__class__
            if cls in _SIMPLE:
                leaves.append(Ref(arg) if arg in keys else arg)
            elif cls is tuple and not (arg and callable(arg[0])) and self._is_key(arg):
                leaves.append(Ref(arg))
            elif cls in SAFE:
                leaves.append(arg)
            else:
                return None
        fn = task[0]
        if not self._is_constant(fn):
            return None
        step = fn, len(leaves)
        code = self._codes.get(step)
        if code is None:
            code = self._codes[step] = (*(None,) * len(leaves), step)
        return Node(code, leaves)

    def _is_constant(self, fn: Any) -> bool:
        """Return whether a function is part of a code: if it is an object, once it has occurred in two nodes."""
        if fn.__class__ in _FUNCTIONS:
            return True
        if self._seen.setdefault(id(fn), None) is None:
            self._seen[id(fn)] = fn
            return False
        try:
            hash(fn)
        except TypeError:
            return False
        return True

    def _compile(self, value: Any) -> Node:
        """Make the code of a node, without recursion."""
        self._code, self._leaves, self._effects = [], [], 0
        waiting: list[tuple[Callable[..., Any], Any]] = [(self._visit, value)]
        while waiting:
            do, what = waiting.pop()
            do(what, waiting)
        return Node(tuple(self._code), self._leaves)

    def _visit(self, value: Any, waiting: list[Any], *, is_old: bool = True) -> None:
        cls = value.__class__
        if is_old and cls is tuple and value and callable(value[0]):
            self._call(value[0], value[1:], (), waiting)
        elif is_old and cls in KEYS and self._is_key(value):
            self._refer(value)
        elif is_old and cls is dict:
            self._open(value, DICT, 2 * len(value), waiting)
            for key, part in reversed(value.items()):
                waiting += (self._visit, part), (self._push, key)
        elif is_old and (cls in CONTAINERS or (isinstance(value, tuple) and hasattr(cls, "_fields"))):
            self._open(value, CONTAINERS.get(cls, cls), len(value), waiting)
            waiting += [(self._visit, part) for part in value][::-1]
        elif (kind := self.kind_of(cls)) is not None:
            kind(value, waiting, self)
        else:
            self._push(value)

    def _visit_new(self, value: Any, waiting: list[Any]) -> None:
        """Visit an argument of a node of dask, where only its own objects are references."""
        self._visit(value, waiting, is_old=False)

    def _push(self, value: Any, _waiting: object = None) -> None:
        self._code.append(None)
        self._leaves.append(value)

    def _refer(self, key: Any) -> None:
        self._effects += 1
        self._push(Ref(key))

    def _emit(self, step: Any, _waiting: object = None) -> None:
        self._effects += 1
        self._code.append(step)

    def _call(self, fn: Any, args: Any, names: tuple[str, ...], waiting: list[Any], visit: Any = None) -> None:
        visit = visit or self._visit
        if self._is_constant(fn):
            waiting.append((self._emit, (fn, len(args), names) if names else (fn, len(args))))
        elif names:
            waiting.append((self._emit, (_call_by_keyword, len(args) + 2)))
            self._push(fn)
            self._push(names)
        else:
            waiting.append((self._emit, (CALL, len(args))))
            self._push(fn)
        waiting += ((visit, arg) for arg in reversed(args))

    def _open(self, value: Any, what: Any, count: int, waiting: list[Any]) -> None:
        marks = len(self._code), len(self._leaves), self._effects
        waiting.append((self._close, (value, (what, count), *marks)))

    def _close(self, opened: tuple[Any, ...], _waiting: object) -> None:
        """End a container: it stays a plain value if it contains neither references nor calls."""
        value, step, steps, leaves, effects = opened
        if effects == self._effects:
            del self._code[steps:], self._leaves[leaves:]
            self._push(value)
        else:
            self._code.append(step)

    def kind_of(self, cls: type) -> Any:
        """Return how objects of a class are read as nodes; None if they are values."""
        if cls not in self._kinds:
            self._kinds[cls] = _find_kind(cls)
        return self._kinds[cls]


def _call_by_keyword(fn: Callable[..., Any], names: tuple[str, ...], *values: Any) -> Any:
    first = len(values) - len(names)
    return fn(*values[:first], **dict(zip(names, values[first:], strict=True)))


_SIMPLE = frozenset({str, int, float})
_FUNCTIONS = frozenset({FunctionType, BuiltinFunctionType, MethodDescriptorType, type})


# -- nodes of dask ----------------------------------------------------------------------------------------------------


def _alias(value: Any, _waiting: list[Any], reader: NodeReader) -> None:
    reader._refer(value.target)


def _data(value: Any, _waiting: list[Any], reader: NodeReader) -> None:
    reader._push(value.value)


def _reference(value: Any, _waiting: list[Any], reader: NodeReader) -> None:
    reader._refer(value.key)


def _task(value: Any, waiting: list[Any], reader: NodeReader) -> None:
    reader._call(value.func, (*value.args, *value.kwargs.values()), tuple(value.kwargs), waiting, reader._visit_new)


def _container(value: Any, waiting: list[Any], reader: NodeReader) -> None:
    waiting.append((reader._emit, (CONTAINERS[type(value).klass], len(value.args))))
    waiting += ((reader._visit_new, arg) for arg in reversed(value.args))


def _other(value: Any, waiting: list[Any], reader: NodeReader) -> None:
    keys = sorted(value.dependencies, key=repr)
    reader._push(value)
    reader._push(keys)
    waiting.append((reader._emit, (NODE, len(keys))))
    waiting += ((lambda key, _: reader._refer(key), key) for key in reversed(keys))


_OWN = {"Alias": _alias, "DataNode": _data, "Task": _task}


def _find_kind(cls: Any) -> Any:
    names = {base.__name__: base for base in cls.__mro__ if base.__module__ == _DASK}
    if "TaskRef" in names:
        return _reference
    if "NestedContainer" in names and cls.__module__ == _DASK and cls.klass in CONTAINERS:
        return _container
    for name, kind in _OWN.items():
        if name in names and cls.__call__ is names[name].__call__:  # a subclass may do anything else
            return kind
    return _other if defines(cls, "dependencies") and defines(cls, "__call__") else None
