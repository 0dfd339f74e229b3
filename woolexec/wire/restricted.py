"""
Unpickling of plain data and, for workers of peers with an allow list, of references to the functions on that list.

Guarantees:
1. A reference is looked up only if it is on the list, or is an exception of Python or woolexec; references that create
   plain data are replaced by constructors of `plain_data`.
2. Only these constructors, these exceptions, and classes on the list are called.
3. No existing object is changed: the opcode BUILD, which sets an object's state, works only on our stand-ins, and
   items are added only to containers that the pickle itself has created.
4. Arrays consist of numbers, text and dates only: numpy's own functions would accept pointers as objects.
5. Only a function that is on the list is run as a task.

It is based on the unpickler that Python has in Python code.  The one in C is several times faster, but cannot enforce
the second and third guarantee.
"""

from __future__ import annotations

import io
import pickle
import sys
from collections import Counter, OrderedDict, deque
from typing import TYPE_CHECKING, Any

from woolexec.checks import wrong_type
from woolexec.printable import printable
from woolexec.wire import inputs, plain_data
from woolexec.wire.pickling import Pickled
from woolexec.wire.plain_data import Constructor, Dtype, Shell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

ALLOW = "WOOLEXEC_WORKER_ALLOWS"
"""The environment variable with the list; set only for workers of such peers."""

_InPython: Any = pickle._Unpickler  # not documented

_CONTAINERS = frozenset({dict, OrderedDict, Counter, list, deque, set})
"""Types of which every object in a pickle was created by that pickle."""


class Careful(_InPython):  # type: ignore[misc]  # it has no type information
    """
    Unpickles plain data.

    :param refusal: the end of the message about a reference that is refused
    """

    dispatch = _InPython.dispatch.copy()

    def __init__(self, data: Any, refusal: str, *, buffers: Any = None) -> None:
        super().__init__(io.BytesIO(data), buffers=buffers)
        self._refusal = refusal

    def find_class(self, module: str, name: str) -> Any:
        """
        Look up a reference.

        :raises UnpicklingError: if it is not plain data
        """
        found = plain_data.find(module, name)
        if found is None:
            raise pickle.UnpicklingError(f"{printable(f'{module}:{name}', 300)} is not {self._refusal}")
        return found

    def get_extension(self, code: int) -> None:
        """
        Refuse a reference by number.

        :raises UnpicklingError: always
        """
        raise pickle.UnpicklingError(f"extension {code} is not {self._refusal}")

    def load_build(self) -> None:
        """
        Set the state of the object on top of the stack.

        :raises UnpicklingError: if the object is not one of our stand-ins
        """
        state = self.stack.pop()
        target = self.stack[-1]
        if type(target) is not Dtype and type(target) is not Shell:
            raise pickle.UnpicklingError(f"the state of {type(target).__name__} is not {self._refusal}")
        target.__setstate__(state)
        if type(target) is Shell:
            self._replace(target)

    def _replace(self, shell: Shell) -> None:
        """Replace a stand-in by its array, in the memo too, where the stand-in is among the last few objects."""
        self.stack[-1] = shell.array
        for key in reversed(self.memo):
            if self.memo[key] is shell:
                self.memo[key] = shell.array
                return

    def check_callable(self, function: Any) -> None:
        """
        Check a callable that the pickle calls.

        :raises UnpicklingError: if it is neither a constructor of plain data nor a class
        """
        if type(function) is not Constructor and not isinstance(function, type):
            raise pickle.UnpicklingError(f"a call in a pickle is not {self._refusal}")

    def check_container(self, target: Any) -> None:
        """
        Check an object that the pickle adds items to.

        :raises UnpicklingError: if it is not a container that a pickle creates
        """
        if type(target) not in _CONTAINERS:
            raise pickle.UnpicklingError(f"adding items to {type(target).__name__} is not {self._refusal}")

    def _instantiate(self, klass: Any, args: Any) -> None:
        self.check_callable(klass)
        super()._instantiate(klass, args)


def _checked(opcode: bytes, check: Callable[[Careful], None]) -> None:
    """Check the operand of an opcode before the opcode is executed."""
    run = Careful.dispatch[opcode[0]]

    def load(unpickler: Careful) -> None:
        check(unpickler)
        run(unpickler)

    Careful.dispatch[opcode[0]] = load


Careful.dispatch[pickle.BUILD[0]] = Careful.load_build
for _opcode, _depth in ((pickle.REDUCE, 2), (pickle.NEWOBJ, 2), (pickle.NEWOBJ_EX, 3)):
    _checked(_opcode, lambda this, depth=_depth: this.check_callable(this.stack[-depth]))  # type: ignore[misc]
for _opcode, _depth in ((pickle.SETITEM, 3), (pickle.APPEND, 2)):
    _checked(_opcode, lambda this, depth=_depth: this.check_container(this.stack[-depth]))  # type: ignore[misc]
for _opcode in (pickle.SETITEMS, pickle.APPENDS, pickle.ADDITEMS):
    _checked(_opcode, lambda this: this.check_container(this.metastack[-1][-1]))


def _executor() -> Any:
    from importlib import import_module

    return import_module("woolexec.api.task_executor").current_executor()


def _actor(key: bytes, name: str) -> Any:
    from importlib import import_module

    return import_module("woolexec.api.task_actors").find_actor(bytes(key), str(name))


def _pickled(body: Any, buffers: Any = ()) -> Pickled:
    return Pickled(body, buffers)  # ignores the function for unpickling that the pickle names


_IN_TASKS = {
    "woolexec.api.task_executor:current_executor": Constructor(_executor),
    "woolexec.api.task_actors:find_actor": Constructor(_actor),
    "woolexec.wire.pickling:Pickled": Constructor(_pickled),
    "woolexec.wire.inputs:load_bound": Constructor(inputs.load_bound),
    "woolexec.wire.inputs:value_of": Constructor(inputs.value_of),
}
"""Constructors for data that is plain only in a worker that unpickles with the same list."""


_ON_LIST = "on this peer's list (woolexec serve --allow)"


class AllowList:
    """
    The functions that a worker may run.

    :param names: each as ``module:qualname``
    :raises TypeError: if it is a single string
    """

    def __init__(self, names: Iterable[str]) -> None:
        if isinstance(names, str):
            raise wrong_type("allow", "several names, each as module:qualname", names)
        self._names = frozenset(names)
        self.variable = " ".join(sorted(self._names))  # the value of `ALLOW`
        self._found: dict[str, Any] = {}
        self._own_names: dict[str, Any] | None = None  # None: not computed yet

    def load(self, data: Any, *, buffers: Any = None) -> Any:
        """
        Unpickle plain data and references to objects on the list.

        :raises UnpicklingError: if there is anything else
        """
        try:
            return _Listed(data, self, buffers=buffers).load()
        except pickle.UnpicklingError as exc:
            if _ON_LIST in str(exc):
                raise
            raise pickle.UnpicklingError(f"this is not {_ON_LIST}, and is no plain data: {exc}") from exc

    def check(self, function: object) -> None:
        """
        Check that a function may be run.

        :raises UnpicklingError: if it is not on the list
        """
        if not any(function is each for each in self._found.values()):
            raise pickle.UnpicklingError(f"the function of the task is not {_ON_LIST}")

    def find(self, module: str, name: str) -> Any:
        """Look up a reference; return None if it is not on the list."""
        key = f"{module}:{name}"
        return self._load(key) if key in self._names else None

    def find_by_own_name(self, module: str, name: str) -> Any:
        """Look up an object that is on the list under another name: `operator.add` is pickled as one of `_operator`."""
        if self._own_names is None:
            self._own_names = dict(self._named_otherwise())
        return self._own_names.get(f"{module}:{name}")

    def _load(self, key: str) -> Any:
        module, _, name = key.partition(":")
        __import__(module)
        found = sys.modules[module]
        for part in name.split("."):
            found = getattr(found, part)
        if not callable(found):  # if it is a container, a pickle could change it for others
            raise pickle.UnpicklingError(f"{printable(key, 300)} is {_ON_LIST}, but is no function")
        self._found[key] = found
        return found

    def _named_otherwise(self) -> Iterator[tuple[str, Any]]:
        """Yield each object on the list that is pickled under another name, with that name."""
        for key in sorted(self._names):
            try:
                found = self._load(key)
            except Exception:  # raised again when it is requested
                continue
            own = f"{getattr(found, '__module__', None)}:{getattr(found, '__qualname__', None)}"
            if own not in self._names:
                yield own, found


class _Listed(Careful):
    def __init__(self, data: Any, allowed: AllowList, *, buffers: Any = None) -> None:
        super().__init__(data, _ON_LIST, buffers=buffers)
        self._allowed = allowed

    def find_class(self, module: str, name: str) -> Any:
        found = self._allowed.find(module, name)
        if found is None:
            found = _IN_TASKS.get(f"{module}:{name}")
        if found is None and plain_data.find(module, name) is None:
            found = self._allowed.find_by_own_name(module, name)
        return super().find_class(module, name) if found is None else found
