"""
The grpc module: how it is imported, and what happens to it when the program forks.

1. grpc's core reads its settings from the environment once, when it is imported.  Woolexec's settings are in the
   environment only during the import, and never replace the user's.
2. Its fork support stops and restarts its threads around each fork.  With grpc.aio calls in progress this fails: the
   child hangs, and in a third of the runs the parent dies of SIGSEGV.  Without fork support the parent is unaffected.
3. In the child the module is unusable: its threads are gone, and they may have held its locks.  Nothing in the child
   touches it; a child that needs its own links loads the extension a second time, with separate state.
4. Its core is never shut down; normally it would be when nothing uses it any more.  A thread of the core that polls
   after a closed connection, for up to 10 s, would then take a deleted lock: the process died of SIGSEGV (grpc 1.84 and
   1.85).
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.util
import os
import shutil
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from importlib.machinery import ExtensionFileLoader, ModuleSpec
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from woolexec.platform.posix import at_fork

FORK_SUPPORT = "GRPC_ENABLE_FORK_SUPPORT"

_EXPERIMENTS = {"GRPC_EXPERIMENTS": "-event_engine_client,-event_engine_listener"}
_MEASURED = ("1.84.", "1.85.")
"""Versions that work without grpc's own threads between socket and caller, so that a round trip takes a fifth less
(740 instead of 900 µs, medians of five).  Later versions keep their default."""

_EXTENSION = "grpc._cython.cygrpc"

_OFF = frozenset({"0", "f", "false", "n", "no"})
"""The values that disable fork support, as grpc's core parses them."""

_PATIENCE = 5.0
"""Seconds that a fork waits for an import of grpc in another thread."""

_UNSAFE = (
    "this process forks while it has links to peers, and grpc's fork support is on: this process may crash, and the "
    "child may hang. Set GRPC_ENABLE_FORK_SUPPORT=0 before grpc is imported, or use multiprocessing's spawn or "
    "forkserver"
)


class _State:
    """The state of grpc in this process; replaced in a forked child."""

    def __init__(self, *, is_stale: bool = False) -> None:
        self.is_stale = is_stale  # the module was imported by a parent
        self.loaded: Any = None
        self.is_ours = False
        self.has_warned = False
        self.users: set[object] = set()
        self.loading = threading.Lock()  # guards `loaded` and the environment; a fork waits for it
        self.holds = False


_state = _State()


def load_grpc(*, quiet: bool = False) -> Any:
    """
    Import grpc with woolexec's settings, unless the program has already imported it or has its own settings.

    :param quiet: also suppress the errors that grpc's core writes to stderr, unless the environment enables them
    :raises RuntimeError: in a forked child where it cannot be loaded a second time
    """
    state = _state
    if state.loaded is not None:
        return state.loaded
    with state.loading:
        if state.loaded is not None:
            return state.loaded
        is_new = "grpc" not in sys.modules
        with _settings(quiet=quiet) if is_new or state.is_stale else contextlib.nullcontext(()) as given:
            grpc = _load_second() if state.is_stale else importlib.import_module("grpc")
            state.is_ours = is_new and FORK_SUPPORT in given
        _kept.append(grpc.insecure_server_credentials())  # the cheapest object that keeps the core from shutting down
        state.loaded = grpc
    return state.loaded


def check_fork() -> None:
    """
    Check that this process can have links, in case it is a forked child.

    :raises RuntimeError: if it cannot
    """
    if _state.is_stale:
        load_grpc()


@contextlib.contextmanager
def in_use() -> Iterator[None]:
    """Record that this process has or serves links while the block runs."""
    users, user = _state.users, object()
    users.add(user)
    try:
        yield
    finally:
        users.discard(user)


@contextlib.contextmanager
def _settings(*, quiet: bool) -> Iterator[dict[str, str]]:
    """Put woolexec's settings into the environment where the user has set none; yield those that were put there."""
    # Without a setting it also logs remarks, for example that the other end has dropped a suspended client.
    ours = {FORK_SUPPORT: "0", "GRPC_VERBOSITY": "NONE" if quiet else "ERROR"}
    if _installed().startswith(_MEASURED):
        ours |= _EXPERIMENTS
    given = {name: value for name, value in ours.items() if name not in os.environ}
    os.environ.update(given)
    try:
        yield given
    finally:
        for name in given:
            os.environ.pop(name, None)


def _installed() -> str:
    try:
        return version("grpcio")
    except PackageNotFoundError:  # in a frozen program
        return ""


def _load_second() -> Any:
    """
    Import grpc a second time; code that already holds the first module keeps it.

    :raises RuntimeError: if this fails
    """
    path = getattr(sys.modules.get(_EXTENSION), "__spec__", None)
    try:
        with _copy_of(str(path.origin)) as copied:  # type: ignore[union-attr]  # None has no origin: an AttributeError
            return _import_with(copied)
    except (ImportError, OSError, AttributeError) as exc:
        raise RuntimeError(
            "this process was forked from one that used grpc, and loading grpc a second time failed "
            f"({exc}): use multiprocessing's spawn or forkserver, or fork before the first link is made"
        ) from exc


@contextlib.contextmanager
def _copy_of(path: str) -> Iterator[str]:
    """Copy a shared object: the dynamic loader loads each file only once."""
    with tempfile.TemporaryDirectory(prefix="woolexec-") as folder:
        copied = os.path.join(folder, os.path.basename(path))
        shutil.copyfile(path, copied)
        yield copied


def _import_with(copied: str) -> Any:
    mine = {name: sys.modules.pop(name) for name in list(sys.modules) if _is_grpcs(name)}
    finder = _Finder(copied)
    sys.meta_path.insert(0, finder)
    try:
        import grpc
        import grpc.aio

        return grpc
    finally:
        sys.meta_path.remove(finder)
        for name in list(sys.modules):
            if _is_grpcs(name):
                del sys.modules[name]
        sys.modules.update(mine)


def _is_grpcs(name: str) -> bool:
    return name == "grpc" or name.startswith("grpc.")


class _Finder:
    """Import hook that finds the copy of the extension."""

    def __init__(self, path: str) -> None:
        self._path = path

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        """Return the spec of the copy; None for all other modules."""
        if name != _EXTENSION:
            return None
        return importlib.util.spec_from_file_location(name, self._path, loader=ExtensionFileLoader(name, self._path))


def _before_fork() -> None:
    # A child that is forked in the middle of an import would wait for that import and never continue.
    if _state.loading.acquire(timeout=_PATIENCE):
        _state.holds = True
    if _state.users and not _state.has_warned and _has_fork_support(_state):
        _state.has_warned = True
        warnings.warn(_UNSAFE, RuntimeWarning, stacklevel=2)


def _in_parent() -> None:
    if _state.holds:
        _state.holds = False
        _state.loading.release()


def _has_fork_support(state: _State) -> bool:
    if state.is_ours or _EXTENSION not in sys.modules:
        return False
    return os.environ.get(FORK_SUPPORT, "1").lower() not in _OFF


def _in_child() -> None:
    global _state  # a process has one grpc
    loaded = _state.loaded
    _state = _State(is_stale=_EXTENSION in sys.modules or loaded is not None)
    if loaded is not None:
        _kept.append(loaded)
        gc.freeze()  # the garbage collector must not destroy a closed pool's objects and wait for such a thread


_kept: list[Any] = []
"""Objects that keep the core of grpc alive, and modules of parent processes: destroying what these hold would wait for
threads that are gone."""

at_fork(before=_before_fork, after_in_parent=_in_parent, after_in_child=_in_child)
