"""A lossy connection between two hosts: two TUN devices, and a thread that forwards packets."""

import contextlib
import fcntl
import itertools
import os
import random
import selectors
import struct
import threading

from tests.mesh.hosts import ip

_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_LARGEST = 1 << 16

counter = itertools.count()


def works():
    """Return whether this process may make TUN devices."""
    try:
        os.close(_open(_name()))
    except OSError:
        return False
    return True


def _name():
    return f"wxt{os.getpid() % 100_000}n{next(counter)}"


def _open(device):
    """Make a TUN device, which is there until this descriptor is closed."""
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    try:
        fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH", device.encode(), _IFF_TUN | _IFF_NO_PI))
    except BaseException:
        os.close(tun)
        raise
    return tun


class Way:
    """
    Loses each packet with a probability, as seeded.

    :param loss: the probability
    """

    def __init__(self, one, other, loss, seed=1):
        self.hosts = one, other
        self.loss = loss
        self.carried = self.lost = 0
        self._random = random.Random(seed)

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            one, other = self._ends = [stack.enter_context(self._end(*pair)) for pair in (self.hosts, self.hosts[::-1])]
            stopped, stop = os.pipe()
            for fd in (stopped, stop):
                stack.callback(os.close, fd)
            carrier = threading.Thread(target=self._carry, args=({one: other, other: one}, stopped), name="way")
            carrier.start()
            stack.callback(carrier.join)
            stack.callback(os.write, stop, b"x")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc_info):
        self._stack.close()

    @contextlib.contextmanager
    def _end(self, host, other):
        device = _name()
        tun = _open(device)
        try:
            ip("link", "set", device, "netns", host.name)
            ip("-n", host.name, "link", "set", device, "up")
            ip("-n", host.name, "route", "add", f"{other.address}/32", "dev", device, "src", host.address)
            yield tun
        finally:
            os.close(tun)

    def _carry(self, way, stopped):
        with selectors.DefaultSelector() as ready:
            for fd in (*way, stopped):
                ready.register(fd, selectors.EVENT_READ)
            while True:
                for key, _ in ready.select():
                    if key.fd == stopped:
                        return
                    with contextlib.suppress(OSError):  # full, which is a loss too, or there is no more
                        while True:
                            self._pass(os.read(key.fd, _LARGEST), way[key.fd])

    def _pass(self, packet, there):
        if self._random.random() < self.loss:
            self.lost += 1
        else:
            os.write(there, packet)
            self.carried += 1
