"""Tasks and odd objects: nested tasks, the worker's environment, unusual exceptions and pickles."""

import concurrent.futures
import dataclasses
import functools
import os
import sys
import threading
import time

from woolexec import current_executor

from .tasks import note

# -- nested tasks -----------------------------------------------------------------------------------------------------


def descend(depth):
    """Return the depth, by as many tasks on top of each other."""
    return 0 if depth == 0 else 1 + current_executor().submit(descend, depth - 1).result()


def fan(count):
    pool = current_executor()
    return sum(future.result() for future in [pool.submit(abs, -i) for i in range(count)])


def fan_and_wait(count):
    pool = current_executor()
    futures = [pool.submit(abs, -i) for i in range(count)]
    done, pending = concurrent.futures.wait(futures, timeout=20)
    return len(done), len(pending)


def fan_as_completed(count):
    pool = current_executor()
    futures = [pool.submit(abs, -i) for i in range(count)]
    return sum(future.result() for future in concurrent.futures.as_completed(futures, timeout=20))


def fan_by_map(count):
    return list(current_executor().map(abs, range(-count, 0)))


def fan_from_threads(count):
    pool = current_executor()
    results = []
    threads = [threading.Thread(target=lambda i=i: results.append(pool.submit(abs, -i).result())) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(results)


def wait_for_a_task_that_fails_once(seen, go):
    view = current_executor().with_options(retries=1, retry_on=(OSError,))
    return view.submit(fail_once, seen, go).result()


def fail_once(seen, go):
    if seen.exists():
        return "tried again"
    seen.touch()
    while not go.exists():
        time.sleep(0.01)
    raise OSError("once")


def nested(fn, *args):
    return current_executor().submit(fn, *args).result()


def nested_error(fn, *args):
    """Return what a task of this task raised."""
    return repr(current_executor().submit(fn, *args).exception())


def nested_unpicklable():
    pool = current_executor()
    return repr(pool.submit(len, RaisesWhenPickled(ValueError)).exception()), pool.submit(abs, -3).result()


def nested_callback():
    seen = []
    future = current_executor().submit(abs, -3)
    future.add_done_callback(lambda done: seen.append(done.result()))
    future.result()
    return seen


def submit_and_leave(path, name):
    current_executor().submit(note, path, name)


def submit_to(pool, number):
    return type(pool).__name__, pool.submit(abs, number).result()


# -- surroundings -----------------------------------------------------------------------------------------------------


def environment(name):
    return os.environ.get(name)


def surroundings():
    return {"cwd": os.getcwd(), "path": list(sys.path), "argv": list(sys.argv), "threads": threading.active_count()}


def open_targets():
    """Name what the descriptors of this process stand for."""
    targets = []
    for name in os.listdir("/proc/self/fd"):
        try:
            targets.append(os.readlink(f"/proc/self/fd/{name}"))
        except OSError:  # the one that reads the folder
            continue
    return targets


def memory_files():
    return sum("memfd:woolexec" in target for target in open_targets())


def log(level, text, *, name="shop", **extra):
    import logging

    logging.getLogger(name).log(level, text, extra=extra)


def log_error():
    import logging

    try:
        raise LookupError("no such shelf")
    except LookupError:
        logging.getLogger("shop").exception("could not look")


def flood_log(count):
    import logging

    logger = logging.getLogger("flood")
    for number in range(count):
        logger.warning("drop %d", number)
    return count


def flood_stdout(size):
    block = b"x" * (1 << 20)
    for _ in range(size >> 20):
        view = memoryview(block)
        while view:
            view = view[os.write(1, view) :]
    return size


def say(text):
    print(text)
    print(text, file=sys.stderr)


def take_all_descriptors():
    """Open files until there are no more; give them back."""
    opened = []
    try:
        while True:
            opened.append(os.open(os.devnull, os.O_RDONLY))
    except OSError as exc:
        return exc.errno
    finally:
        for fd in opened:
            os.close(fd)


def fill_descriptors(limit):
    """Leave this worker without a free descriptor."""
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    try:
        while True:
            os.open(os.devnull, os.O_RDONLY)
    except OSError:
        return limit


def limit_descriptors(limit):
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))


def open_targets_of_parent():
    parent = os.getppid()
    return [os.readlink(f"/proc/{parent}/fd/{name}") for name in os.listdir(f"/proc/{parent}/fd")]


def open_targets_when_all_are_here():
    time.sleep(0.3)
    return open_targets()


def say_and_die(text):
    from .tasks import die

    say(text)
    die()


def echo_child(text):
    import subprocess

    return subprocess.run(["echo", text], check=False).returncode


def configure_logging():
    import logging

    logging.basicConfig()
    logging.getLogger("configured").debug("through")
    return "configured"


def signals():
    import signal

    return signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL, signal.pthread_sigmask(signal.SIG_BLOCK, set())


def use_own_executor(sender):
    from woolexec import PeerPoolExecutor

    with PeerPoolExecutor(1) as own:
        sender.send(own.submit(abs, -5).result(20))
    sender.close()


def refuse_to_start():
    raise RuntimeError("the initializer says no")


def sleep_for_ever():
    time.sleep(600)


# -- data -------------------------------------------------------------------------------------------------------------


def blob(size):
    return b"x" * size


def ends(data):
    """Tell the size of some bytes and what stands at their ends."""
    return len(data), bytes(data[:1]), bytes(data[-1:])


def echo(value):
    return value


def hold_data(data, folder):
    from .tasks import hold

    hold(folder)
    return len(data)


def die_with(data):
    from .tasks import die

    die()


def is_writable(array):
    return bool(array.flags.writeable)


def writable_and_back(values):
    """Tell whether an array could be written, and give it back as it cannot."""
    writable = is_writable(values[0])
    values[0].flags.writeable = False
    return writable, values[0]


def each_of(values):
    yield from values


_kept_data = None


def keep(data):
    global _kept_data
    _kept_data = data


def kept():
    return _kept_data


def overwrite(array):
    """Change an array in place; tell its sum before and after, and whether it could be written."""
    before = int(array.sum())
    writable = bool(array.flags.writeable)
    array[:] = 7
    return before, int(array.sum()), writable


def allocated(_=None):
    import gc

    gc.collect()
    return sys.getallocatedblocks()


# -- functions of every kind ------------------------------------------------------------------------------------------


class Shop:
    def __init__(self, stock):
        self.stock = stock

    def __call__(self, count):
        return self.stock - count

    def sell(self, count, *, rebate=0):
        return self.stock - count - rebate

    @classmethod
    def empty(cls):
        return cls(0)

    @staticmethod
    def greet(name):
        return f"hello {name}"

    @functools.cached_property
    def doubled(self):
        return 2 * self.stock


def add_keywords(a, /, b, *args, c, d=4, **rest):
    return a, b, args, c, d, rest


# -- odd exceptions ---------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class FrozenError(Exception):
    code: int


class FalsyError(Exception):
    def __bool__(self):
        return False


class EmptyError(Exception):
    def __len__(self):
        return 0


class EqualError(Exception):
    def __eq__(self, other):
        return True

    def __hash__(self):
        return 1


class UncomparableError(Exception):
    def __eq__(self, other):
        raise RuntimeError("not to be compared")

    __hash__ = None


class UnprintableError(Exception):
    def __repr__(self):
        raise RuntimeError("no repr")

    def __str__(self):
        raise RuntimeError("no str")


class ExitingTextError(Exception):
    def __repr__(self):
        raise SystemExit(3)

    __str__ = __repr__


class NoTextError(Exception):
    """Its text is not a string."""

    def __repr__(self):
        return 3

    __str__ = __repr__


class UnreducibleError(Exception):
    def __reduce__(self):
        raise RuntimeError("not to be pickled")

    def __reduce_ex__(self, protocol):
        raise RuntimeError("not to be pickled")


class ExitingReduceError(Exception):
    def __reduce_ex__(self, protocol):
        raise SystemExit(3)


class UnloadableError(Exception):
    def __reduce__(self):
        return refuse_to_load, ("not to be loaded",)


class ExitingLoadError(Exception):
    def __reduce__(self):
        return sys.exit, (3,)


class DisguisedError(Exception):
    """Comes back as something that is no exception."""

    def __reduce__(self):
        return str, ("no exception",)


class ClosedError(Exception):
    """Nothing can be set on it."""

    def __setattr__(self, name, value):
        raise RuntimeError("closed")


class GuardedError(Exception):
    """Nothing can be read from it."""

    def __getattribute__(self, name):
        raise RuntimeError("guarded")


class LyingError(Exception):
    """Says that it is of another class."""

    @property
    def __class__(self):
        return int


class OddNotesError(Exception):
    __notes__ = 5


class NeedsKeywordError(Exception):
    def __init__(self, *, code):
        super().__init__(f"code {code}")
        self.code = code


def refuse_to_load(text):
    raise RuntimeError(text)


def throw(kind, *args):
    raise kind(*args)


def throw_if_kind(item):
    if isinstance(item, int):
        return item
    raise item(3)


def throw_it(exc):
    raise exc


def throw_needing_keyword():
    raise NeedsKeywordError(code=5)


def throw_in_circle():
    one, other = ValueError("one"), KeyError("other")
    one.__cause__, other.__cause__ = other, one
    raise one


def throw_unpicklable_argument():
    raise ValueError("locked", threading.Lock())


def throw_chain(length):
    exc = ValueError(0)
    for number in range(1, length):
        following = ValueError(number)
        following.__cause__ = exc
        exc = following
    raise exc


_kept = ValueError("the same each time")


def throw_kept():
    """Raise one exception object again and again."""
    raise _kept


# -- odd pickles ------------------------------------------------------------------------------------------------------


class RaisesWhenPickled:
    def __init__(self, kind):
        self.kind = kind

    def __reduce__(self):
        raise self.kind("while pickled")


class RaisesWhenLoaded:
    def __init__(self, kind):
        self.kind = kind

    def __reduce__(self):
        return throw, (self.kind, "while loaded")


class RaisesWhenLoadedByCaller:
    """Loads in the worker, raises when it comes back."""

    def __init__(self, kind):
        self.kind = kind
        self.maker = os.getpid()

    def __reduce__(self):
        return _load_elsewhere, (self.kind, self.maker)


def _load_elsewhere(kind, maker):
    if os.getpid() != maker:
        raise kind("while loaded by the caller")
    return maker


def make_raising_when_loaded(kind):
    return RaisesWhenLoadedByCaller(kind)


def make_raising_when_pickled(kind):
    return RaisesWhenPickled(kind)


class CallsWhenPickled:
    """Runs something of the caller's while it is pickled; arrives as what that gave."""

    def __init__(self, call):
        self.call = call

    def __reduce__(self):
        return echo, (self.call(),)


class SubmitsWhenLoaded:
    """Submits a task to the worker's own pool while it is unpickled there; arrives as the outcome."""

    def __reduce__(self):
        return nested, (abs, -5)


class SubmitsInCaller:
    """Submits a task to the caller's executor while it is unpickled there."""

    def __reduce__(self):
        return _submit_in_caller, ()


caller_pool = None


def _submit_in_caller():
    return caller_pool.submit(abs, -7).result(20)


def make_unless_zero(kind):
    return RaisesWhenPickled(kind) if kind else 0


def pid_for(_):
    return os.getpid()


def alarm_inside(seconds):
    """Let a signal interrupt this task, as `signal.alarm` users do."""
    import signal

    rung = []
    before = signal.signal(signal.SIGALRM, lambda *_: rung.append("rang"))
    signal.setitimer(signal.ITIMER_REAL, seconds)
    while not rung:
        signal.pause()
    signal.signal(signal.SIGALRM, before)
    return rung[0]


# -- a stormy run -----------------------------------------------------------------------------------------------------


def storm_task(journal, number, kind):
    """Note the start, then do what this kind of task does."""
    from . import tasks

    tasks.note(journal, number)
    if kind == "nap":
        time.sleep(0.005)
    elif kind == "error":
        raise KeyError(number)
    elif kind == "die":
        tasks.die(3)
    elif kind == "late":
        time.sleep(600)
    elif kind == "large":
        return number, bytes(300_000)
    elif kind == "unpicklable":
        return threading.Lock()
    elif kind == "doomed" or (kind == "tried" and tasks.notes(journal).count(str(number)) == 1):
        raise ValueError(number)
    return number, kind


def nap_and_return(value, seconds):
    time.sleep(seconds)
    return value


def die_at_first(journal, number):
    """Die at each tenth item's first start."""
    from . import tasks

    if number % 10 == 5 and str(number) not in tasks.notes(journal):
        tasks.note(journal, number)
        tasks.die(1)
    return number


def fail_at(number, last):
    if number == last:
        raise KeyError(number)
    return number


def note_large(journal, number, data):
    note(journal, number)


def note_and_fail_at(journal, number, last):
    note(journal, number)
    return fail_at(number, last)
