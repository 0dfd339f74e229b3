"""Checks of a peer's parameters: a wrong one is an error that names it, and never reduces protection."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from woolexec.checks import count, integer, wrong_type
from woolexec.core.offer import Offer
from woolexec.discovery.urls import check_address
from woolexec.mesh.security.credentials import Credentials
from woolexec.mesh.security.handshake import MOST_WORKERS
from woolexec.resources import Requirement

if TYPE_CHECKING:
    from collections.abc import Iterable

_MOST_COROUTINES = (1 << 32) - 1
"""Maximum number of coroutines of all workers together: the largest number that a greeting can hold."""


def check_numbers(workers: int, coroutines: int, threads: int) -> None:
    """
    Check the numbers of a peer.

    :raises TypeError: if one is not an integer
    :raises ValueError: if one is too small or too large
    """
    if not 0 <= integer("workers", workers) <= MOST_WORKERS:
        raise ValueError(f"workers must be between 1 and {MOST_WORKERS}, not {workers}")
    if count("coroutines", coroutines) * workers > _MOST_COROUTINES:
        raise ValueError(f"coroutines must be at most {_MOST_COROUTINES // workers} with {workers} workers")
    count("threads", threads)


def check_place(credentials: object, bind: object, health: object, pool: object) -> None:
    """
    Check where a peer listens, and for whom.

    :raises TypeError: if one has the wrong type
    :raises ValueError: if an address or the name of the pool is not valid
    """
    if not isinstance(credentials, Credentials):
        raise wrong_type("credentials", "Credentials", credentials)
    for name, value in (("bind", bind), ("health", health)):
        if value is None:
            continue
        if not isinstance(value, str):
            raise wrong_type(name, "an address such as '127.0.0.1:0', or None", value)
        try:
            check_address(value, lowest=0)
        except ValueError as exc:
            raise ValueError(f"{name}: {exc}") from None
    if not isinstance(pool, str):
        raise wrong_type("pool", "a str", pool)


def check_texts(name: str, values: object, expected: str) -> None:
    """
    Check an option that has several texts.

    :param expected: a description of each text, for the message
    :raises TypeError: if it is a single text, or contains something other than texts
    :raises ValueError: if one is empty or contains a null character
    """
    if isinstance(values, str | bytes | Mapping) or not hasattr(values, "__iter__"):
        raise wrong_type(name, f"several texts, each {expected}", values)
    found: Iterable[object] = values
    for value in found:
        if not isinstance(value, str):
            raise wrong_type(f"each of {name}", f"a str, {expected}", value)
        if not value.strip() or "\0" in value:
            raise ValueError(f"{name}: {value!r} is not {expected}")


def check_resources(resources: object) -> None:
    """
    Check the amounts that a peer offers.

    :raises TypeError: if it is not a mapping, or an amount is not a number
    :raises ValueError: if an amount is not above 0
    """
    if resources is None:
        return
    if not isinstance(resources, Mapping):
        raise wrong_type("resources", 'a mapping such as {"gpu": 1}, or None', resources)
    for name, amount in resources.items():
        if isinstance(amount, str):
            raise wrong_type(f"resources[{name!r}]", "a number", amount)
    try:
        Requirement(resources)
    except (TypeError, ValueError) as exc:
        raise type(exc)(f"resources: {str(exc).replace('require', 'resources')}") from None


def offer_of(tags: Iterable[str], resources: Mapping[str, float]) -> Offer:
    """
    Return what calls may require; a peer's workers have their GPUs until their end.

    :raises ValueError: if it has fewer GPUs
    """
    if "gpu" not in resources:
        return Offer(tags, resources)
    from woolexec.core.peer_devices import PeerDevices
    from woolexec.engine.gpus import devices_of

    found = {name: float(amount) for name, amount in resources.items()}
    return PeerDevices(tags, found, devices_of(found, os.environ))
