"""The functions that the tests submit.  Imports little, because workers import it too."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

LIMIT = 20.0
PAUSE = 0.005

_status = "uninitialized"


def eventually(condition, limit=LIMIT):
    """Wait until `condition()` holds; tell whether it did within `limit` seconds."""
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(PAUSE)
    return True


def is_gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def hold(folder, name="held"):
    """Say in `folder` that this call runs, and wait for `release`."""
    part = Path(folder) / f".{name}"
    part.write_text(str(os.getpid()))
    part.rename(Path(folder) / name)  # whole or not at all
    assert eventually((Path(folder) / "release").exists)
    return name


def is_held(folder, name="held"):
    return eventually((Path(folder) / name).exists)


def release(folder):
    (Path(folder) / "release").touch()


def meet(folder, count):
    """Return this process's id once `count` processes are here at the same time."""
    (Path(folder) / str(os.getpid())).touch()
    assert eventually(lambda: len(list(Path(folder).iterdir())) >= count)
    return os.getpid()


def pid(_=None):
    return os.getpid()


def nap(seconds):
    time.sleep(seconds)
    return seconds


def mul(x, y):
    return x * y


def fail(text):
    raise RuntimeError(text)  # where it was raised


def keywords(*args, **kwargs):
    return args, kwargs


def kill_self(number=signal.SIGKILL):
    os.kill(os.getpid(), number)
    time.sleep(LIMIT)


def leave(code):
    os._exit(code)


def raise_type(kind, *args):
    raise kind(*args)


def set_status(text):
    global _status
    _status = text


def status(_=None):
    return _status


def fail_to_start():
    raise ValueError("error in initializer")


class FailsToPickle:
    def __reduce__(self):
        raise LookupError("cannot be pickled")


class FailsToUnpickle:
    def __reduce__(self):
        return fail, ("cannot be unpickled",)


class LeavesAtUnpickle:
    def __reduce__(self):
        return sys.exit, (1,)


def make(kind):
    return kind()


def in_main_thread():
    return threading.current_thread() is threading.main_thread()


def run_subprocess():
    import subprocess

    return subprocess.run([sys.executable, "-c", "print(6 * 7)"], capture_output=True, text=True, check=True).stdout


def run_process(value):
    """Start a process of our own, as a worker of the stdlib may."""
    import multiprocessing

    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=sender.send, args=(value,))
    process.start()
    received = receiver.recv()
    process.join()
    return received


def run_nested(executor_type, value):
    with executor_type(1) as pool:
        return pool.submit(mul, value, 2).result()


def put(queue, value):
    queue.put(value)


def update(mapping, key, value):
    mapping[key] = value


def send(connection, value):
    connection.send(value)
    connection.close()


def send_bytes(sock, data):
    sock.sendall(data)
    sock.close()


def write_shared(name, data):
    from multiprocessing import shared_memory

    block = shared_memory.SharedMemory(name)
    block.buf[: len(data)] = data
    block.close()


def make_shared(data):
    from multiprocessing import shared_memory

    block = shared_memory.SharedMemory(create=True, size=len(data))
    block.buf[:] = data
    block.close()
    return block.name


def unlink_shared(name):
    from multiprocessing import shared_memory

    block = shared_memory.SharedMemory(name)
    block.close()
    block.unlink()


def authkey():
    import multiprocessing

    return bytes(multiprocessing.current_process().authkey)


class Registered:
    """Travels only by the reducer that a test registers with multiprocessing."""

    def __init__(self, value):
        self.value = value

    def __reduce__(self):
        raise TypeError("ask the registered reducer")


def reduce_registered(thing):
    return rebuild_registered, (thing.value,)


def rebuild_registered(value):
    made = Registered.__new__(Registered)
    made.value = value
    return made


def value_of(thing):
    return thing.value


def ignore_termination(folder):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return hold(folder)
