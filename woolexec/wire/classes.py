"""
Classes that travel by value: created once in each process, without running the program's class hooks again.

A class is created in two steps, since its attributes may refer to it: first an empty class, then its attributes.
The effects of a program's own metaclass or ``__init_subclass__`` are among the attributes, so they are not called
again.

An enumeration is created with its members, by its own metaclass; the members are created as copies are, without
``__new__``, ``__init__`` or ``auto``.
"""

from __future__ import annotations

import copyreg
import enum
import sys
import threading
import types

from cloudpickle import cloudpickle

from woolexec.platform.posix import renewed_at_fork
from woolexec.wire import arrivals, unpickling

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_making = renewed_at_fork(threading.RLock())
"""Guards the creation of classes: two threads that receive the same class create it once."""


def find(tracker: str) -> Any:
    """Return the class with this tracker id, if this process knows it."""
    return cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID.get(tracker)


def find_at_home(module: str, name: str, tracker: str) -> Any:
    """
    Return the class that this process sent under this name.

    :raises AttributeError: if it no longer exists
    """
    cls = find(tracker)
    if cls is None:  # it has been redefined, and the old class has been collected
        cls = getattr(sys.modules[module], name)
    return cls


def keep(tracker: str, cls: Any) -> Any:
    """Register a received class under its tracker id."""
    arrivals.came(cls)
    return cloudpickle._lookup_class_or_track(tracker, cls)


def make_class(kind: type, name: str, bases: tuple[Any, ...], names: dict[str, Any], tracker: str, _: Any) -> Any:
    """
    Create an empty class, or return the existing one.

    :param names: attributes that it must have from the start
    :param tracker: identifies the class in all processes
    """
    with _making:
        cls = find(tracker)
        if cls is None:
            cls = keep(tracker, _make(kind, name, bases, names))
        return cls


def _make(kind: type, name: str, bases: tuple[Any, ...], names: dict[str, Any]) -> type:
    resolved = types.resolve_bases(bases)
    maker = next((base for one in resolved for base in one.__mro__ if "__init_subclass__" in base.__dict__), object)
    try:
        if _is_own(maker):
            return _make_quietly(kind, name, bases, names, maker)
        return _make_loudly(kind, name, bases, names)
    except Exception:  # a metaclass or a base needs arguments, or the attributes
        if kind is type and maker is object:
            raise
    try:
        return _make_quietly(kind, name, bases, names, maker)
    except TypeError:
        return type.__new__(kind, name, resolved, _with_origin(names, bases, resolved))


def _make_loudly(kind: type, name: str, bases: tuple[Any, ...], names: dict[str, Any]) -> type:
    importable: Any = next(each for each in kind.__mro__ if not _is_own(each))
    if importable is kind:
        return types.new_class(name, bases, {"metaclass": kind}, lambda namespace: namespace.update(names))
    resolved = types.resolve_bases(bases)  # the effects of the program's own metaclass are among the attributes
    made: type = importable.__new__(kind, name, resolved, _with_origin(names, bases, resolved))
    return made


def _with_origin(names: dict[str, Any], bases: Any, resolved: Any) -> dict[str, Any]:
    return names if resolved is bases else {**names, "__orig_bases__": bases}


def _is_own(cls: type) -> bool:
    return cls in cloudpickle._DYNAMIC_CLASS_TRACKER_BY_CLASS


def _make_quietly(kind: type, name: str, bases: tuple[Any, ...], names: dict[str, Any], maker: Any) -> type:
    """Create a class without calling the ``__init_subclass__`` of `maker`."""
    own = maker.__dict__["__init_subclass__"]
    maker.__init_subclass__ = classmethod(_do_nothing)
    try:
        return _make_loudly(kind, name, bases, names)
    finally:
        maker.__init_subclass__ = own


def _do_nothing(_: Any, /, **__: Any) -> None:
    pass


# -- enumerations -----------------------------------------------------------------------------------------------------

_MADE_BY_METACLASS = frozenset(
    {
        "__new__",
        "_all_bits_",
        "_boundary_",
        "_flag_mask_",
        "_hashable_values_",
        "_inverted_",
        "_iter_member_",
        "_member_map_",
        "_member_names_",
        "_member_type_",
        "_order_",
        "_singles_mask_",
        "_unhashable_values_",
        "_unhashable_values_map_",
        "_value2member_map_",
        "_value_repr_",
    }
)
_OF_MEMBER = frozenset({"__objclass__", "_name_", "_sort_order_", "_value_"})


def reduce_member(member: Any) -> tuple[Any, ...] | None:
    """Reduce a member of an enumeration to its name; return None if it has none."""
    cls: Any = type(member)
    name = member.__dict__.get("_name_")
    if type(name) is str and cls._member_map_.get(name) is member:
        return find_member, (cls, name)
    return None


def find_member(cls: Any, name: str) -> Any:
    """Return the member with this name, without calling the enumeration's own lookup methods."""
    return cls._member_map_[name]


def reduce_enum(cls: Any) -> tuple[Any, ...] | None:
    """Reduce an enumeration; return None if its members cannot be recreated from their arguments."""
    members, attributes = [], {}
    for name, member in cls._member_map_.items():
        args = _arguments(cls, member)
        if args is None:
            return None
        members.append((name, args, member._value_))
        more = {key: value for key, value in vars(member).items() if key not in _OF_MEMBER}
        if more and name == member._name_:
            attributes[name] = more
    values = [
        (value, member._name_)
        for value, member in list(cls._value2member_map_.items())
        if cls._member_map_.get(member._name_) is member and value is not member._value_ and value != member._value_
    ]
    state, slots = cloudpickle._class_getstate(cls)
    for name in _MADE_BY_METACLASS | cls._member_map_.keys():
        state.pop(name, None)
    state["_use_args_"], state["_new_member_"] = cls._use_args_, cls.__dict__["_new_member_"]
    boundary = cls._boundary_ if issubclass(cls, enum.Flag) else None
    make = type(cls), cls.__name__, cls.__qualname__, cls.__module__, cls.__bases__, boundary, members
    tracker = cloudpickle._get_or_create_tracker_id(cls)
    return make_enum, (*make, tracker), (state, slots, attributes, values), None, None, set_enum_state


def _arguments(cls: Any, member: Any) -> tuple[Any, ...] | None:
    """Return the arguments that the member's data type needs to create a copy of it."""
    if cls._member_type_ is object:
        return ()
    reduced: Any = object.__reduce_ex__(member, 4)
    args: tuple[Any, ...] = reduced[1]
    if reduced[0] is copyreg.__newobj__:  # type: ignore[attr-defined]  # as copyreg does itself
        return args[1:]
    return args if reduced[0] is cls else None


def make_enum(
    kind: Any, name: str, qualname: str, module: str, bases: Any, boundary: Any, members: list[Any], tracker: str
) -> Any:
    """Create an enumeration, without its members' further attributes, or return the existing one."""
    with _making:
        cls = find(tracker)
        if cls is not None:
            return cls
        pending = iter(members)

        def new(cls: Any, *_: Any) -> Any:
            _, args, value = next(pending)
            member = cls._member_type_.__new__(cls, *args)
            member._value_ = value
            return member

        names = kind.__prepare__(name, bases)
        names["__module__"], names["__qualname__"] = module, qualname
        names["__new__"], names["__init__"] = new, lambda *_: None
        for member in members:
            names[member[0]] = _Member()
        cls = kind.__new__(kind, name, bases, names, **({} if boundary is None else {"boundary": boundary}))
        for ours in ("__init__", "__new_member__"):
            if ours in cls.__dict__:
                type.__delattr__(cls, ours)
        return keep(tracker, cls)


class _Member:
    """A placeholder for a member until it is created."""


def set_enum_state(cls: Any, state: Any) -> Any:
    """Complete an enumeration, unless it originated in this process."""
    names, slots, attributes, values = state
    if arrivals.is_ours(cls):
        return cls
    arrivals.set_class_state(cls, (names, slots))
    data = unpickling.fingerprint(attributes) if attributes else b""
    if cls.__dict__.get("_woolexec_members") != data:  # values set by a task are kept, as for other classes
        type.__setattr__(cls, "_woolexec_members", data)
        for name, more in attributes.items():
            for key, value in more.items():
                object.__setattr__(cls._member_map_[name], key, value)
    for value, name in values:
        cls._value2member_map_.setdefault(value, cls._member_map_[name])
    return cls
