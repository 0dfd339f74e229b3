"""
Classes that SQLAlchemy maps to tables, and travel by value.

The receiver maps them again, to tables with the same columns: SQLAlchemy's own data about a mapped class belongs to its
process.  The classes' columns, keys, relationships and inheritance are transferred; joins that a relationship defines
by expressions are not.
"""

from __future__ import annotations

import sys
import types

from cloudpickle import cloudpickle

from woolexec.wire import arrivals, classes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_OF_SQLALCHEMY = ("__mapper__", "__table__", "_sa_class_manager", "_sa_registry", "metadata", "registry")


def reduce(cls: Any, orm: Any) -> tuple[Any, ...] | None:
    """Reduce a mapped class, or a declarative base; return None for any other class."""
    if "__mapper__" in cls.__dict__:
        return _reduce_mapped(cls, orm)
    registry = cls.__dict__.get("registry")
    if isinstance(registry, orm.registry) and cls.__dict__.get("metadata") is registry.metadata:
        return _reduce_base(cls, orm)
    return None


def _state(cls: Any, names: Any) -> Any:
    state, slots = cloudpickle._class_getstate(cls)
    for name in (*_OF_SQLALCHEMY, *names):
        state.pop(name, None)
    if getattr(state.get("__init__"), "__module__", "").startswith(("sqlalchemy.", "<")):
        del state["__init__"]
    return state, slots


# -- bases ------------------------------------------------------------------------------------------------------------


def _reduce_base(cls: Any, orm: Any) -> tuple[Any, ...]:
    metadata = cls.metadata
    of_metadata = {"schema": metadata.schema, "naming_convention": dict(metadata.naming_convention)}
    is_old = isinstance(cls, orm.decl_api.DeclarativeMeta)
    names = {"__module__": cls.__module__, "__qualname__": cls.__qualname__}
    make = orm.declarative_base if is_old else None, cls.__name__, cls.__bases__, names, type(metadata), of_metadata
    tracker = cloudpickle._get_or_create_tracker_id(cls)
    state = _state(cls, ("__init__",) if is_old else ())
    return make_base, (*make, tracker), state, None, None, arrivals.set_class_state


def make_base(make: Any, name: str, bases: Any, names: Any, kind: Any, of_metadata: Any, tracker: str) -> Any:
    """Create a declarative base without tables, or return the existing one."""
    known = classes.find(tracker)
    if known is not None:
        return known
    metadata = kind(**{key: value for key, value in of_metadata.items() if value})
    if make is not None:
        cls = make(metadata=metadata, name=name, cls=bases if len(bases) > 1 else bases[0])
    else:
        cls = types.new_class(name, bases, {}, lambda space: space.update(names, metadata=metadata))
    return classes.keep(tracker, cls)


# -- mapped classes ---------------------------------------------------------------------------------------------------


def _reduce_mapped(cls: Any, orm: Any) -> tuple[Any, ...]:
    mapper = cls.__mapper__
    inherited = {*mapper.inherits.attrs.keys()} if mapper.inherits is not None else set()
    columns = {prop.key: prop.columns[0].name for prop in mapper.column_attrs if prop.key not in inherited}
    related = {prop.key: _of_relationship(prop) for prop in mapper.relationships if prop.key not in inherited}
    table = cls.__dict__.get("__table__")
    names = {"__module__": cls.__module__, "__qualname__": cls.__qualname__}
    if type(cls.__dict__.get("__mapper_args__")) is dict:
        names["__mapper_args__"] = cls.__mapper_args__
    tables = [_alone(each) for each in (table, *(prop.secondary for prop in mapper.relationships)) if each is not None]
    make = type(cls), cls.__name__, cls.__bases__, names, table is not None, tables, columns, orm.relationship, related
    attributes = _state(cls, (*mapper.attrs.keys(), "__mapper_args__"))
    original = mapper.class_manager.original_init
    if isinstance(original, types.FunctionType) and not original.__module__.startswith("sqlalchemy."):
        attributes[0]["__init__"] = original
    else:
        attributes[0].pop("__init__", None)
    targets = [prop.mapper.class_ for prop in mapper.relationships]
    tracker = cloudpickle._get_or_create_tracker_id(cls)
    return make_mapped, (*make, tracker), (*attributes, targets), None, None, set_mapped


def _alone(table: Any) -> Any:
    """Copy a table into separate metadata: otherwise all other tables would be pickled with it."""
    return table.to_metadata(type(table.metadata)())


def _of_relationship(prop: Any) -> dict[str, Any]:
    options = {"argument": prop.mapper.class_.__name__, "uselist": prop.uselist}
    if prop.secondary is not None:
        options["secondary"] = prop.secondary.key
    for name in ("back_populates", "viewonly", "lazy", "passive_deletes", "post_update"):
        options[name] = getattr(prop, name)
    if not prop.viewonly:
        options["cascade"] = ", ".join(sorted(prop.cascade))
    if prop.order_by:
        options["order_by"] = ", ".join(f"{prop.mapper.class_.__name__}.{each.key}" for each in prop.order_by)
    if len(prop.remote_side) == 1 and prop.mapper.class_ is prop.parent.class_:
        [column] = prop.remote_side
        options["remote_side"] = f"{prop.mapper.class_.__name__}.{column.key}"
    return options


def make_mapped(
    kind: Any,
    name: str,
    bases: Any,
    names: dict[str, Any],
    has_table: bool,  # noqa: FBT001  # called by a pickle
    tables: list[Any],
    columns: dict[str, str],
    relationship: Any,
    related: dict[str, dict[str, Any]],
    tracker: str,
) -> Any:
    """Create a mapped class, or return the existing one."""
    known = classes.find(tracker)
    if known is not None:
        return known
    metadata = next(base.metadata for base in bases if hasattr(base, "metadata"))
    for table in tables:
        if table.key not in metadata.tables:
            table.to_metadata(metadata)
    names = dict(names)
    if has_table:
        names["__table__"] = own = metadata.tables[tables[0].key]
        names.update((key, own.c[column]) for key, column in columns.items() if column != key)
    names.update((key, relationship(**options)) for key, options in related.items())
    cls = types.new_class(name, bases, {"metaclass": kind}, lambda space: space.update(names))
    return classes.keep(tracker, cls)


def set_mapped(cls: Any, state: Any) -> Any:
    """Complete a mapped class."""
    names, slots, _ = state
    arrivals.set_class_state(cls, (names, slots))
    if arrivals.is_ours(cls):
        return cls
    mapper = cls.__mapper__
    if "__init__" in names and cls.__init__ is names["__init__"]:
        mapper.class_manager.original_init = cls.__init__
        mapper.class_manager._instrument_init()
    for method in names.values():  # the mapper does this too, but it was created before these methods were set
        for key in getattr(method, "__sa_validators__", ()):
            if key not in mapper.validators:
                options = method.__sa_validation_opts__
                mapper.validators = mapper.validators.union({key: (method, options)})
                sys.modules["sqlalchemy.orm.util"]._validator_events(getattr(cls, key), key, method, **options)
    return cls
