"""Checks the parameters of `PeerPoolExecutor`, and creates what the engine needs from them."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import ModuleType

from woolexec.checks import integer, positive_seconds, size, wrong_type
from woolexec.cpus import usable_cpus
from woolexec.errors import PlatformError
from woolexec.imported import imported
from woolexec.wire.payload import LARGE
from woolexec.wire.pickling import dumps
from woolexec.wire.reducers import inheriting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from woolexec.api.output import OutputChoice
    from woolexec.core.offer import Offer
    from woolexec.core.upkeep import Upkeep
    from woolexec.discovery.base import Discovery
    from woolexec.mesh.client.code_archive import Shippable
    from woolexec.mesh.client.peers import Peers
    from woolexec.mesh.security.credentials import Credentials
    from woolexec.observe.dashboard import Dashboard
    from woolexec.worker.setup import Setup

    PeersArgument = str | Discovery | Iterable[str | Discovery]


def page_of(pool: Any, dashboard: bool | str | None) -> Dashboard | None:  # noqa: FBT001  # as the executor takes it
    """
    Open the dashboard of a pool if ``dashboard=`` or the environment asks for it.

    It is closed when the pool is collected, at the latest.

    :raises TypeError: if `dashboard` is neither a text, a bool nor None
    :raises ValueError: if it is not an address
    :raises ImportError: if a required package is missing
    :raises OSError: if the server cannot listen at the address
    """
    if dashboard is False or (dashboard is None and not os.environ.get("WOOLEXEC_DASHBOARD")):
        return None
    from woolexec.observe.pool_page import open_page  # imported when it is needed

    page = open_page(pool, dashboard)
    if page is not None:
        weakref.finalize(pool, page.close).atexit = False
    return page


def worker_limit(max_workers: Any, *, has_peers: bool) -> int:
    """
    Return the maximum number of workers on this machine.

    :raises ValueError: if it is negative, or 0 without peers
    :raises TypeError: if it is not an integer
    """
    if max_workers is None:
        return 0 if has_peers else usable_cpus()
    limit = integer("max_workers", max_workers, "an integer or None")
    if limit < 0 or (limit == 0 and not has_peers):
        raise ValueError(f"max_workers must be greater than 0, not {limit}")
    return limit


def check_placement(placement: object) -> None:
    """
    Check that this is a placement policy or None.

    :raises TypeError: if not
    """
    if isinstance(placement, type):
        raise TypeError(f"placement must be an object, not a class: {placement.__name__}()")
    if placement is not None and not callable(getattr(placement, "choose", None)):
        raise wrong_type("placement", "an object with the methods of a Placement, or None", placement)


def first_call(on_worker_start: Any, initializer: Any, initargs: Any, kept: list[Any] | None = None) -> Any:
    """
    Pickle the function that each worker runs first, with its arguments; return None if there is none.

    :param kept: receives the objects that must live as long as workers may be started
    :raises TypeError: if a function cannot be called, or `initargs` is not iterable
    :raises Exception: any exception raised by pickling
    """
    if initializer is not None and not callable(initializer):
        raise wrong_type("initializer", "a callable or None", initializer)
    if initargs is not None or initializer is not None:
        try:
            initargs = tuple(initargs)
        except TypeError:
            raise wrong_type("initargs", "a tuple of arguments", initargs) from None
    if on_worker_start is None:
        if initializer is None:
            return None
        return _dumps_first((initializer, initargs), ("initializer", "initargs"), kept)
    if not callable(on_worker_start):
        raise wrong_type("on_worker_start", "a function that takes no arguments, or None", on_worker_start)
    from woolexec.worker.initializer import run_both

    arguments = on_worker_start, initializer, tuple(initargs)
    return _dumps_first((run_both, arguments), ("", "on_worker_start or initializer"), kept)


def _dumps_first(obj: object, names: tuple[str, ...], kept: list[Any] | None) -> Any:
    kept = [] if kept is None else kept
    with suppress(Exception), inheriting(kept):  # pickling may raise anything: the next attempt succeeds or raises
        return dumps(obj, names, least=LARGE)
    from woolexec.wire.lending import lending
    from woolexec.wire.stand_ins import ANEW, recreate

    with lending(kept, dict.fromkeys(ANEW, recreate)):
        return dumps(obj, names, least=LARGE)


def upkeep_of(
    max_memory_per_child: Any, memory_limit: Any, idle_timeout: Any, min_workers: Any, finalizer: Any
) -> Upkeep | None:
    """
    Return the upkeep of the workers; None if no parameter asks for any.

    :raises ValueError: if a size or a time is not above 0, or `min_workers` is negative
    :raises TypeError: if one has the wrong type
    :raises PlatformError: if there is a memory limit and this system does not tell the memory of processes
    :raises Exception: any exception raised by pickling the finalizer
    """
    least = integer("min_workers", min_workers)
    if least < 0:
        raise ValueError(f"min_workers must not be negative: {least}")
    replace_above = size("max_memory_per_child", max_memory_per_child)
    end_above = size("memory_limit", memory_limit)
    idle_timeout = positive_seconds("idle_timeout", idle_timeout)
    if finalizer is not None and not callable(finalizer):
        raise wrong_type("finalizer", "a function that takes no arguments, or None", finalizer)
    if replace_above is end_above is idle_timeout is finalizer is None:
        return None
    from woolexec.core.memory_limits import MemoryLimits
    from woolexec.core.upkeep import Upkeep

    if not (replace_above is end_above is None):
        check_memory_is_known()
    pickled = None if finalizer is None else dumps(finalizer, "finalizer", least=LARGE)
    return Upkeep(MemoryLimits(replace_above, end_above), idle_timeout, least, pickled)


def for_peers(upkeep: Upkeep | None, setup: Setup | None) -> bytes:
    """Return the finalizer in the form for workers of peers, with the code that it may use; empty if there is none."""
    if upkeep is None or upkeep.finalizer is None:
        return b""
    from woolexec.mesh.link.outbox import parts_of
    from woolexec.worker.setup import Setup

    return (setup or Setup(())).wrap(parts_of(upkeep.finalizer))


def offer_of(resources: Any, workers: int) -> Offer:
    """
    Return what calls may require of the workers on this machine.

    :param workers: maximum number of these workers
    :raises ValueError: if an amount is not above 0, this machine has fewer GPUs, or `workers` is 0
    :raises TypeError: if it is not a mapping of names to numbers
    """
    from woolexec.core.offer import NOTHING, Offer
    from woolexec.resources import Requirement

    if resources is None:
        return NOTHING
    if not hasattr(resources, "items"):
        raise wrong_type("resources", 'a mapping such as {"gpu": 2, "db": 5}, or None', resources)
    for name, amount in resources.items():
        if isinstance(amount, str):
            raise wrong_type(f"resources[{name!r}]", "a number", amount)
    try:
        found = dict(Requirement(resources).resources)
    except (TypeError, ValueError) as exc:
        raise type(exc)(str(exc).replace("require", "resources", 1)) from None
    if found and not workers:
        raise ValueError("resources= describes the workers on this machine, but there are none: set max_workers")
    if "gpu" not in found:
        return Offer(resources=found)
    from woolexec.core.devices import Devices
    from woolexec.engine.gpus import devices_of

    return Devices(found, devices_of(found, os.environ))


def check_memory_is_known() -> None:
    """
    Check that this system tells how much memory processes have.

    :raises PlatformError: if not
    """
    from woolexec.platform.memory import resident

    if resident(os.getpid()) is None:
        raise PlatformError("memory limits of workers need /proc, as on Linux, to measure their memory")


def checked_environment(environment: Any) -> dict[str, str]:
    """
    Return environment variables, checked.

    :raises TypeError: if it is not a mapping of texts to texts
    :raises ValueError: if a name or a value cannot be one of an environment variable
    """
    if environment is None:
        return {}
    if not hasattr(environment, "items"):
        raise wrong_type("environment", "a mapping of names to texts, or None", environment)
    for name, value in environment.items():
        if not isinstance(name, str):
            raise wrong_type("a name in environment", "a str", name)
        if not isinstance(value, str):
            raise wrong_type(f"environment[{name!r}]", "a str", value)
        if not name or "=" in name or "\0" in name + value:
            raise ValueError(f"environment: {name!r} has an invalid name or value")
    return dict(environment)


def terminal_for(*, debug: bool) -> dict[str, str]:
    """Return the environment variables of workers whose tasks may use the terminal."""
    if not debug:
        return {}
    from woolexec.platform import terminal

    return {terminal.VARIABLE: terminal.of_stdin()}


def byte_limit(name: str, limit: Any) -> int | None:
    """
    Return a limit in bytes, checked.

    :raises ValueError: if it is negative
    :raises TypeError: if it is not an integer or None
    """
    if limit is None:
        return None
    checked = integer(name, limit, "an integer or None")
    if checked < 0:
        raise ValueError(f"{name} must not be negative: {limit}")
    return checked


def store_limits(store_limit: Any, spill_dir: Any) -> tuple[int | None, str | None]:
    """
    Return the two parameters, checked.

    :raises ValueError: if the limit is negative, or the folder does not exist
    :raises TypeError: if they are of the wrong type
    """
    store_limit = byte_limit("store_limit", store_limit)
    if spill_dir is None:
        return store_limit, None
    try:
        folder = os.fspath(spill_dir)
    except TypeError:
        raise wrong_type("spill_dir", "a path or None", spill_dir) from None
    if not isinstance(folder, str):
        raise wrong_type("spill_dir", "a path or None", spill_dir)
    if not os.path.isdir(folder):
        raise ValueError(f"spill_dir is not a folder: {folder}")
    return store_limit, folder


def check_credentials(credentials: object) -> None:
    """
    Check that these are credentials or None.

    :raises TypeError: if not
    """
    if credentials is None:
        return
    from woolexec.mesh.security.credentials import Credentials

    if not isinstance(credentials, Credentials):  # its repr may be the secret
        raise TypeError(f"credentials must be a Credentials or None, not {type(credentials).__name__}")


RESULTS = "WOOLEXEC_WORKER_RESULTS"
"""The environment variable of workers whose nested tasks may run at peers that are not trusted."""


def mark_of(results: object) -> Callable[[Any], Any] | None:
    """
    Return a function that marks what peers send, if they are not trusted.

    :raises ValueError: if `results` is neither ``"pickle"`` nor ``"plain"``
    :raises TypeError: if it is not a string
    """
    if not isinstance(results, str):
        raise wrong_type("results", "'pickle' or 'plain'", results)
    if results == "pickle":
        return None
    if results != "plain":
        raise ValueError(f"results must be 'pickle' or 'plain', not {results!r}")
    from woolexec.wire.plain_results import untrusted

    return untrusted


def output_choice(output: Any, prefix: Any, *, has_peers: bool) -> OutputChoice | None:
    """
    Return where the output of tasks goes; None: it goes where workers write.

    :raises ValueError: for a value out of range
    :raises TypeError: for a value of the wrong type
    """
    if output == prefix == "auto" and not has_peers and imported("IPython") is None:
        return None
    from woolexec.api.output import OutputChoice

    return OutputChoice(output, prefix, has_peers=has_peers)


def modules_of(ship: Shippable | Iterable[Shippable]) -> list[Shippable]:
    """
    Return the modules that `ship=` names, as a list.

    :raises TypeError: if it is neither a module nor iterable
    """
    if isinstance(ship, str | os.PathLike | ModuleType):
        return [ship]
    try:
        return [*ship]
    except TypeError:
        raise wrong_type("ship", "a module, its name or path, or several of these", ship) from None


def links_to(
    peers: PeersArgument,
    credentials: Credentials | None,
    timeout: float | None,
    setup: Setup | None,
    code: Callable[[str], bytes | None],
    compression: str | None,
) -> Peers:
    """
    Return the links to these peers, which the engine opens.

    :param timeout: seconds that tasks wait while no peer is connected
    :param setup: see `setup_of`
    :param code: returns a code archive by its digest
    :param compression: "auto", "off", None, or the name of a format
    :raises ValueError: if there are no peers, or one is malformed, or there is no such format
    :raises CredentialsError: if the credentials of this process cannot be used
    """
    from woolexec.discovery.urls import discoveries
    from woolexec.mesh.client.peers import Peers
    from woolexec.mesh.link.compression import formats
    from woolexec.mesh.security.credentials import Credentials

    credentials, known = credentials or Credentials.from_environment(), formats(compression)
    return Peers(discoveries(peers), credentials, timeout=timeout, setup=setup, code=code, compression=known)


def setup_of(ship: list[Shippable], initializer: Any, timeout: float | None) -> tuple[Setup | None, dict[str, bytes]]:
    """
    Return the setup that is sent to peers with functions, None if there is nothing to set up, and its code archives.

    :param initializer: the pickled initializer, None if there is none
    :param timeout: seconds that the initializer may take
    :raises ValueError: if a module cannot be shipped
    """
    if initializer is None and not ship:
        return None, {}
    import secrets

    from woolexec.mesh.client.code_archive import code_archive
    from woolexec.mesh.link.outbox import parts_of
    from woolexec.worker.setup import Setup

    code_archives = [code_archive(each) for each in ship]
    parts = () if initializer is None else parts_of(initializer)
    setup = Setup([(each.name, each.digest) for each in code_archives], parts, secrets.token_bytes(16), timeout)
    return setup, {each.digest: each.data for each in code_archives}
