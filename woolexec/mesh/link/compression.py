"""
Compression of large payloads between hosts: the formats of both ends, and the compressed parts.

Each end says in the handshake which formats it can decompress, and is sent no others.  Whether compressing pays is
measured: see `woolexec.core.compressing`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from time import perf_counter
from typing import Any

from woolexec.checks import wrong_type
from woolexec.core.compressing import Compressing, Trial
from woolexec.wire.fast_frames import encode_part

PART = 512 << 10
"""Bytes of a large payload per message: a small frame waits for at most one of these."""

_LEVEL = 1
"""The level of zstd: twice as fast as its default, and the result about as small."""

_WINDOW = 20
"""Base-2 logarithm of zstd's window size in bytes, which decompressing takes in memory; parts are smaller."""

_NUMBERS = {"zstd": 1, "lz4": 2}
"""The numbers of the formats in `Part`; earlier ones are preferred."""

_NAMES = {number: name for name, number in _NUMBERS.items()}

_MODULES = {"zstd": ("compression.zstd", "backports.zstd"), "lz4": ("lz4.block",)}
"""The modules of each format; the first that exists is used."""

AUTO = "auto"


def formats(wanted: object) -> tuple[str, ...]:
    """
    Return the formats that this process may use, the best first.

    :param wanted: "auto": all that are installed; the name of one; "off" or None: none
    :raises ValueError: if there is no such format, or it is not installed
    :raises TypeError: if it is no string
    """
    if wanted is None or wanted == "off":
        return ()
    if not isinstance(wanted, str):
        raise wrong_type("compression", "'auto', 'off', None or the name of a format", wanted)
    if wanted == AUTO:
        return tuple(name for name in _NUMBERS if _module_of(name))
    if wanted not in _NUMBERS:
        raise ValueError(f"compression must be 'auto', 'off', {' or '.join(map(repr, _NUMBERS))}, not {wanted!r}")
    if not _module_of(wanted):
        raise ValueError(f"compression {wanted!r} needs a package: pip install 'woolexec[compression]'")
    return (wanted,)


@cache
def _module_of(name: str) -> str:
    """Return the name of the module that has a format; an empty string if it is not installed."""
    for module in _MODULES[name]:
        package = module.partition(".")[0]
        if find_spec(package) is not None and find_spec(module) is not None:
            return module
    return ""


@cache
def _functions(name: str) -> tuple[Callable[[Any], bytes], Callable[[Any, int], bytes]]:
    """Return the functions that compress, and that decompress to at most a given number of bytes."""
    module = import_module(_module_of(name))
    if name == "lz4":

        def decompress_block(data: Any, size: int) -> bytes:
            plain: bytes = module.decompress(data, uncompressed_size=size)
            return plain

        return (lambda data: module.compress(data, store_size=False)), decompress_block
    options = {module.DecompressionParameter.window_log_max: _WINDOW}

    def decompress_frame(data: Any, size: int) -> bytes:
        reader = module.ZstdDecompressor(options=options)
        plain: bytes = reader.decompress(data, max_length=size)
        if not reader.eof or reader.unused_data:
            raise ValueError("it is longer or shorter than one frame")
        return plain

    return (lambda data: module.compress(data, _LEVEL)), decompress_frame


def decompress(part: Any, offered: Sequence[str]) -> Any:
    """
    Return the bytes of a part, which may be compressed.

    :param part: a `Part`
    :param offered: the formats that were offered to its sender
    :raises ValueError: if it is compressed in another format, or its contents or size are wrong; at most the memory of
        its stated size is used, which is at most `PART`
    """
    if not part.compression:
        return part.data
    name = _NAMES.get(part.compression, "")
    if name not in offered:
        raise ValueError("received a part that is compressed in a way that was not offered")
    if not 0 < part.size <= PART:
        raise ValueError(f"received a compressed part of {part.size} bytes; the limit is {PART} bytes")
    try:
        data = _functions(name)[1](part.data, part.size)
    except Exception as exc:  # each module has its own errors
        raise ValueError(f"received a compressed part that cannot be decompressed: {exc}") from exc
    if len(data) != part.size:
        raise ValueError(f"received a compressed part of {len(data)} bytes that says it has {part.size}")
    return data


class Packing:
    """
    Compresses the parts that one end of a link sends, where that pays.

    :param ours: the formats that this process may use, the best first
    :param theirs: the formats that the other end can decompress
    """

    def __init__(self, ours: Sequence[str], theirs: Iterable[str]) -> None:
        self.ours, known = tuple(ours), set(theirs)
        self._name = next((name for name in ours if name in known), "")
        self._measured = Compressing()
        self._took = 0.0  # seconds that compressing the last part took; 0 if it is not compressed
        self._begun = 0.0  # when sending its message began; 0 if it was sent

    def part(self, call: int, data: bytes, trial: Trial) -> bytes:
        """Return the encoded part of a payload, compressed if that pays."""
        self._took = 0.0
        if not self._name or not data or not self._measured.pays(trial):
            return encode_part(call, data)
        pack = _functions(self._name)[0]
        begun = perf_counter()
        packed = pack(data)
        took = perf_counter() - begun
        self._measured.packed(trial, len(data), len(packed), took)
        if len(packed) >= len(data):
            return encode_part(call, data)
        self._took = took
        return encode_part(call, packed, len(data), _NUMBERS[self._name])

    def begin(self) -> None:
        """Note that the message with the part is being sent."""
        if self._name:
            self._begun = perf_counter()

    def end(self, size: int) -> None:
        """Note that a message has been sent."""
        if self._begun:
            self._measured.sent(size, perf_counter() - self._begun, self._took)
            self._begun = 0.0


PLAIN = Packing((), ())
"""Compresses nothing."""
