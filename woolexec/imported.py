"""Access to modules that are already imported, and imports at the time when a module is first needed."""

from __future__ import annotations

import _thread
import sys
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def imported(name: str) -> Any:
    """
    Return a module if it has been imported, else None; also None while any thread is still importing it.

    A module is in `sys.modules` before its first line runs, so another thread may find it there half initialized.
    """
    module = sys.modules.get(name)
    if module is None or getattr(getattr(module, "__spec__", None), "_initializing", False):
        return None
    return module


def import_now(name: str) -> None:
    """
    Import a module that takes long, when it is first needed.

    The main thread has another thread import it, and waits.  If it imported the module itself, a signal handler that
    needs the module too would find half of it, and the import could not go on before the handler returns.  So the
    handler waits for the other thread as well.

    If the main thread calls this while it is importing something, it holds import locks that the other thread may need:
    it then imports the module itself.

    :raises ImportError: if the module cannot be imported
    """
    if imported(name) is not None:
        return
    from importlib import import_module

    errors: list[BaseException] = []
    imports = _thread.allocate_lock()

    def run() -> None:
        try:
            import_module(name)
        except BaseException as exc:  # raised where it is needed
            errors.append(exc)
        finally:
            imports.release()

    imports.acquire()
    if threading.current_thread() is threading.main_thread() and not _is_importing():
        try:
            _thread.start_new_thread(run, ())
        except RuntimeError:  # no thread can be started: the interpreter is ending
            run()
    else:
        run()
    imports.acquire()
    if errors:
        raise errors.pop()


def _is_importing() -> bool:
    frame: Any = sys._getframe()
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False
