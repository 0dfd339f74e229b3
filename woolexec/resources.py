"""What a task requires of the worker or peer that runs it, and the waiting line that it joins."""

from __future__ import annotations

from collections import namedtuple

from woolexec.checks import wrong_type

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import NamedTuple


class Requirement:
    """
    Tags and amounts of resources, and a place; immutable and hashable.

    :param wanted: ``{"gpu": 1, "zone": "b"}``: a number is an amount of a resource, a string the value of a tag
    :param at: a host, the name of a peer or a tag; empty: any
    :raises TypeError: if it is not such a mapping
    :raises ValueError: if an amount is not above 0
    """

    __slots__ = ("at", "resources", "tags")

    resources: tuple[tuple[str, float], ...]
    tags: frozenset[str]
    at: str

    def __init__(self, wanted: Mapping[str, float | str], at: str = "") -> None:
        self.at = at
        resources, tags = {}, set()
        if not hasattr(wanted, "items"):
            raise wrong_type("require", 'a mapping such as {"gpu": 1, "zone": "b"}', wanted)
        for name, value in wanted.items():
            if not isinstance(name, str):
                raise wrong_type("a key of require", "a str", name)
            if not name or {*"=>,"} & {*name}:
                raise ValueError(f"{name!r} cannot name a resource or a tag: it is empty or contains '=', '>' or ','")
            if isinstance(value, str):
                tags.add(f"{name}={value}")
            elif isinstance(value, bool) or not hasattr(value, "__float__"):
                raise wrong_type(f"require[{name!r}]", "a number (an amount) or a str (the value of a tag)", value)
            else:
                if not 0 < value < float("inf"):
                    raise ValueError(f"require[{name!r}] must be an amount above 0, not {value!r}")
                resources[name] = float(value)
        self.resources = tuple(sorted(resources.items()))
        self.tags = frozenset(tags)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Requirement) and self._parts == other._parts

    def __hash__(self) -> int:
        return hash(self._parts)

    @property
    def _parts(self) -> tuple[object, ...]:
        return self.resources, self.tags, self.at

    def __str__(self) -> str:
        wanted = ", ".join([*(f"{name}>={amount:g}" for name, amount in self.resources), *sorted(self.tags)])
        return " ".join(filter(None, (wanted, self.at and f"at {self.at}")))

    @property
    def texts(self) -> tuple[str, ...]:
        """Tags and amounts, in the form that frames carry."""
        return *(f"{name}>={amount!r}" for name, amount in self.resources), *sorted(self.tags)

    @classmethod
    def of(cls, texts: Iterable[str]) -> Requirement | None:
        """
        Make a requirement from its `texts`; None if there are none.

        :raises ValueError: if one of them is malformed
        """
        wanted: dict[str, float | str] = {}
        for text in texts:
            name, _, value = text.partition("=")
            if name.endswith(">"):
                wanted[name[:-1]] = float(value)
            else:
                wanted[name] = value
        return cls(wanted) if wanted else None

    def __reduce__(self) -> tuple[object, ...]:
        return Requirement, (self.wanted, self.at)

    @property
    def wanted(self) -> dict[str, float | str]:
        """The mapping of tags and amounts from which the requirement was made."""
        return {**dict(tag.split("=", 1) for tag in self.tags), **dict(self.resources)}


def amounts(texts: Iterable[str]) -> dict[str, float]:
    """
    Parse amounts of resources, each ``name>=amount`` or ``name=amount``.

    :raises ValueError: if one of them is malformed
    """
    found: dict[str, float] = {}
    for text in texts:
        name, _, amount = text.replace(">=", "=").partition("=")
        try:
            found.update(Requirement({name: float(amount)}).resources)
        except ValueError:
            raise ValueError(f"{text!r} is not an amount of a resource, such as gpu=2") from None
    return found


if TYPE_CHECKING:

    class Line(NamedTuple):
        """What the tasks in one line have in common; tasks without any of these wait in the line None."""

        priority: int = 0
        requirement: Requirement | None = None
        near: str = ""
        client: object = None
        away: bool = False
        """They need values that peers keep and this process does not have: see `woolexec.core.away`."""
        actor: object = None
        """The actor whose methods they call, in a worker its key; for lives, all actors: `woolexec.core.actors`."""
        ranked: bool = False
        """They are ranked: see `woolexec.core.ready_queue`."""
        far: bool = False
        """For lives: only at peers."""

else:  # without `typing`, which takes long to import
    _FIELDS = "priority requirement near client away actor ranked far"
    Line = namedtuple("Line", _FIELDS, defaults=(0, None, "", None, False, None, False, False))  # noqa: PYI024
