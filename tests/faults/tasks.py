"""The functions that the tests submit, and helpers to examine processes.  Imports little, as workers import it too."""

import mmap
import os
import pickle
import resource
import signal
import sys
import threading
import time
from pathlib import Path

SOON = 20.0
"""Seconds: a watchdog, far above every bound of the fault list."""

PAUSE = 0.002


def eventually(condition, limit=None):
    """Wait until `condition()` holds, and fail if it does not soon; given a limit in seconds, tell whether it did."""
    deadline = time.monotonic() + (SOON if limit is None else limit)
    while not condition():
        if time.monotonic() > deadline:
            assert limit is not None, "it did not come true"
            return False
        time.sleep(PAUSE)
    return True


def is_gone(pid):
    """Tell whether a process has ended; one that nobody has waited for yet has ended as well."""
    return _state(pid) in "ZX"


def is_asleep(pid):
    """Tell whether a process waits for something."""
    return _state(pid) == "S"


def is_stopped(pid):
    """Tell whether a signal has stopped a process."""
    return _state(pid) == "T"


def _state(pid):
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return "X"
    return stat[stat.rindex(")") + 2]


# -- marks in files: what was started, how often -----------------------------------------------------------------------


def note(path, text):
    """Append a line, whole even if several processes write."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(fd, f"{text}\n".encode())
    os.close(fd)


def notes(path):
    return Path(path).read_text().split() if Path(path).exists() else []


def note_and_return(path, value):
    note(path, value)
    return value


def hold(folder, name="held"):
    """Say in `folder` that this call runs, and wait for `release`."""
    note(Path(folder) / name, os.getpid())
    assert eventually((Path(folder) / "release").exists)
    return name


def wait_held(folder, name="held"):
    """Return the id of the process that runs `hold`."""
    path = Path(folder) / name
    assert eventually(lambda: notes(path)), f"{name} was not started"
    return int(notes(path)[0])


def release(folder):
    (Path(folder) / "release").touch()


def meet(folder, count):
    """Return this process's id once `count` processes are here at the same time."""
    note(Path(folder) / str(os.getpid()), "here")
    assert eventually(lambda: len(list(Path(folder).iterdir())) >= count)
    return os.getpid()


# -- plain tasks -------------------------------------------------------------------------------------------------------


def pid():
    return os.getpid()


def double(number):
    return 2 * number


async def double_beside(number):
    return 2 * number


def nap(seconds):
    time.sleep(seconds)
    return seconds


def spin(seconds):
    """Be busy in Python for so long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    return seconds


def hold_the_gil(seconds):
    """Sleep in C without letting go of the GIL."""
    import ctypes

    ctypes.PyDLL(None).usleep(int(seconds * 1e6))
    return seconds


# -- ways to die -------------------------------------------------------------------------------------------------------


def die(how="SIGKILL"):
    """End this process: by a signal's name, by a real fault in C, or by an exit code."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if isinstance(how, int):
        os._exit(how)
    if how == "SIGSEGV":
        import ctypes

        ctypes.string_at(0)
    if how == "SIGABRT":
        os.abort()
    os.kill(os.getpid(), getattr(signal, how))
    time.sleep(SOON)


def die_noted(path, name, how="SIGKILL"):
    note(path, name)
    die(how)


def die_or_note(path, name, how=None):
    """One function for calls that die and calls that do not, so that all have the same expected run time."""
    note(path, name)
    if how is not None:
        die(how)
    return name


def die_at(item, last):
    if item == last:
        die()
    return item


def die_when_released(folder, name="held"):
    hold(folder, name)
    die()


def die_once(path):
    """Die at the first start, return the number of starts at a later one."""
    note(path, "start")
    if len(notes(path)) == 1:
        die()
    return len(notes(path))


def log_and_die(lines):
    import logging

    for line in lines:
        logging.getLogger("shop").warning(line)
    die()


def die_while_writing(size):
    """Return a buffer that travels in a memory file; die when some of it is written there."""

    def written(fd):
        try:
            return (
                "memfd:woolexec" in os.readlink(f"/proc/self/fd/{fd}") and os.stat(f"/proc/self/fd/{fd}").st_blocks > 0
            )
        except OSError:
            return False

    present = {fd for fd in map(int, os.listdir("/proc/self/fd")) if written(fd)}

    def watch():
        while not any(written(fd) for fd in set(map(int, os.listdir("/proc/self/fd"))) - present):
            pass
        die()

    threading.Thread(target=watch, daemon=True).start()
    return pickle.PickleBuffer(mmap.mmap(-1, size))


def allocate_under_limit(size):
    """Ask for more than the limit of this process's address space, which is put below `size`."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (size // 2, before[1]))
    try:
        return len(bytearray(size))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def fill(size):
    """Use so much memory, for real; give up in the end in case nobody minds."""
    blocks = [b"x" * (1 << 20) for _ in range(size >> 20)]
    return len(blocks)


class DiesWhenDropped:
    """Travels well; ends the process in which it was made when it is dropped there."""

    def __init__(self, how):
        self.how = how
        self.maker = os.getpid()

    def __del__(self):
        if self.maker == os.getpid():
            die(self.how)


def make_dying(how):
    return DiesWhenDropped(how)


# -- offspring ---------------------------------------------------------------------------------------------------------


def spawn_family(path):
    """Start a child and a grandchild that hold stdout and ignore SIGTERM and SIGINT; note their ids."""
    import subprocess

    source = (
        "import os, signal, sys, time\n"
        "for number in (signal.SIGTERM, signal.SIGINT): signal.signal(number, signal.SIG_IGN)\n"
        "os.fork()\n"
        "fd = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)\n"
        "os.write(fd, b'%d\\n' % os.getpid())\n"
        "time.sleep(600)\n"
    )
    subprocess.Popen([sys.executable, "-S", "-c", source, path])
    assert eventually(lambda: len(notes(path)) == 2)


def die_with_family(path, how="SIGKILL"):
    spawn_family(path)
    die(how)


def nap_with_family(path):
    spawn_family(path)
    note(path, "ready")
    time.sleep(600)


def leave_child():
    """Leave a child that sleeps; return its process id."""
    import subprocess

    child = subprocess.Popen(["sleep", "600"])
    child.returncode = 0  # nobody waits for it
    return child.pid


def fork_and_die(path, *, session=False):
    """Leave a forked child that holds every descriptor of the worker."""
    child = os.fork()
    if child == 0:
        if session:
            os.setsid()
        time.sleep(600)
        os._exit(0)
    note(path, child)
    die()


# -- signals -----------------------------------------------------------------------------------------------------------


def ignore_and_nap(path):
    """Ignore what can be ignored, say so, and sleep."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    note(path, os.getpid())
    time.sleep(600)


def stop_or_note(path, name, seconds):
    """Answer SIGTERM with SystemExit, as servers do; sleep if asked to."""
    if seconds:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    note(path, name)
    time.sleep(seconds)
    return name


def note_and_nap(path, seconds):
    note(path, os.getpid())
    time.sleep(seconds)
    return seconds


# -- tasks of tasks ----------------------------------------------------------------------------------------------------


def submit_and_nap(seconds, path=os.devnull):
    """Wait for a task of one's own, which runs in this worker if it is the only one; then sleep."""
    from woolexec import current_executor

    current_executor().submit(double, 21).result()
    note(path, os.getpid())
    time.sleep(seconds)
    return seconds


# -- exceptions --------------------------------------------------------------------------------------------------------


class OwnError(Exception):
    pass


class OwnBaseError(BaseException):
    pass


class HoldsALock(Exception):
    def __init__(self, text):
        super().__init__(text, threading.Lock())

    def __str__(self):
        return self.args[0]


class NeedsKeyword(Exception):
    def __init__(self, text, *, key):
        super().__init__(text)
        self.key = key


class NeedsMore(Exception):
    def __init__(self, text, key):
        super().__init__(text)
        self.key = key


class ForgetsItsArguments(Exception):
    def __init__(self, text, key):
        self.args = (text,)


class RaisesAtLoad(Exception):
    def __init__(self, text, key):
        super().__init__(text)

    def __setstate__(self, state):
        raise LookupError("not again")

    def __reduce__(self):
        return type(self), (self.args[0], "key"), {"some": "state"}


class RaisesAtPickling(Exception):
    def __init__(self, text, key):
        super().__init__(text)

    def __reduce__(self):
        raise LookupError("not at all")


class LoadsAsSomethingElse(Exception):
    def __init__(self, text, key):
        super().__init__(text)

    def __reduce__(self):
        return str, ("something else",)


class NothingWorks(Exception):
    def __new__(cls, text, key):
        return super().__new__(cls)

    def __init__(self, text, key):
        super().__init__(text)

    def __reduce__(self):
        raise LookupError("not at all")


class ExitsAtLoad(Exception):
    def __init__(self, text, key):
        super().__init__(text)

    def __reduce__(self):
        return sys.exit, (3,)


class LongText(Exception):
    """Its text and its representation have 100 MiB."""

    def __str__(self):
        return "long" * (25 << 20)

    __repr__ = __str__


def throw(kind, *args):
    raise kind(*args)


def throw_at(item, last, kind):
    if item == last:
        raise kind(item)
    return item


def throw_odd(kind):
    raise kind("odd", key="key")


def throw_unpicklable():
    error = HoldsALock("no key")
    error.add_note("what happened before")
    raise error


def throw_local():
    class Local(Exception):
        pass

    raise Local("only here")


def throw_with_state():
    error = OwnError("text")
    error.code, error.notes = 42, {"a": 1}
    raise error


def throw_long(*, picklable=True):
    error = LongText()
    if not picklable:
        error.lock = threading.Lock()
        error.args = (error.lock,)
    raise error


def throw_chain():
    try:
        raise KeyError("inner")
    except KeyError as exc:
        raise LookupError("outer") from exc


def throw_in_handler():
    try:
        raise KeyError("inner")
    except KeyError:
        raise LookupError("outer")  # noqa: B904  # the context is the point


def throw_from_none():
    try:
        raise KeyError("inner")
    except KeyError:
        raise LookupError("outer") from None


def throw_noted():
    error = ValueError("text")
    error.add_note("first")
    error.add_note("second")
    raise error


def throw_group():
    first = ValueError("one")
    first.__cause__ = KeyError("inner")
    raise ExceptionGroup("both", [first, ExceptionGroup("more", [OwnError("two")])])


def throw_group_unpicklable():
    raise ExceptionGroup("both", [ValueError("one"), HoldsALock("two")])


def throw_circle():
    one, other = ValueError("circle"), KeyError("other")
    one.__cause__, other.__cause__ = other, one
    raise one


def throw_long_chain(length):
    error = None
    for number in range(length + 1):
        outer = ValueError(number)
        outer.__cause__ = error
        error = outer
    raise error


def throw_from_unpicklable():
    raise ValueError("outer") from HoldsALock("inner")


def recurse():
    return recurse()


# -- what does not pickle ----------------------------------------------------------------------------------------------


class RaisesWhenPickled:
    def __reduce__(self):
        raise LookupError("not to be pickled")

    def __call__(self):
        return 42


class RecursesWhenPickled:
    def __reduce__(self):
        return RecursesWhenPickled, (RecursesWhenPickled(),)


class RaisesWhenLoaded:
    def __reduce__(self):
        return _refuse, ()


class DiesWhenLoaded:
    def __init__(self, how):
        self.how = how

    def __reduce__(self):
        return die, (self.how,)


class DiesWhenPickled(DiesWhenLoaded):
    def __reduce__(self):
        die(self.how)


def _refuse():
    raise LookupError("not to be loaded")


def make(kind, *args):
    return kind(*args)


def has_unused_permit(worker):
    """Tell whether the next call can be sent to a worker directly."""
    permit = worker._permit
    return permit is not None and permit.user is None


def make_of_missing_module():
    """Return a thing that pickles by the name of a module which only this process has."""
    module = sys.modules["worker_only"] = type(sys)("worker_only")
    exec("class Thing: pass", module.__dict__)
    del module.__builtins__  # else it is taken for one that the program has made, and travels
    return module.Thing()


# -- initializers ------------------------------------------------------------------------------------------------------


def note_and_throw(path):
    note(path, "start")
    raise ValueError("no license")


def meet_and_throw(folder, count):
    meet(folder, count)
    raise ValueError("no license")


def hold_and_note(folder, path):
    hold(folder)
    note(path, "ready")


def hang_at_exit():
    import atexit

    atexit.register(time.sleep, 600)


def say(text):
    """Print a line, whole even if several processes print."""
    os.write(1, f"{text}\n".encode())


def note_and_call(path, function, *args):
    note(path, os.getpid())
    return function(*args)


def ignore_signals_and_nap(seconds):
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    time.sleep(seconds)


# -- objects with a state ----------------------------------------------------------------------------------------------


class Counter:
    """An object whose methods change it, and what they are given."""

    def __init__(self):
        self.count = 0

    def add(self, n):
        self.count += 1
        return self.count

    async def add_later(self, n):
        import asyncio

        await asyncio.sleep(0)
        return self.add(n)

    def yield_added(self, n):
        yield self.add(n)

    def __call__(self, n):
        return self.add(n)
