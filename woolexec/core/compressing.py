"""
Decides whether the parts of large payloads are compressed before they are sent: if that takes less time than it saves.

The time that a link takes for a byte is measured while sending.  The time for compressing, and the ratio, are measured
with the first part of each payload, unless the link is so fast that compressing could not pay.
"""

from __future__ import annotations

_MARGIN = 1.5
"""How many times its own duration compressing must save, because it and decompressing also use a processor."""

_WEIGHT = 0.25
"""The weight of the last measurement in the average."""

_AGAIN = 256
"""Number of parts after which compressing is tried again where it did not pay."""

_UNSEEN = 128
"""Number of parts compressed more slowly than they were sent, after which the link is measured again."""

_MEASURED = 16
"""Number of parts that are sent uncompressed to measure the link: the first ones only fill buffers."""


class Compressing:
    """Measurements of one link."""

    def __init__(self) -> None:
        self._byte: float | None = None  # seconds to send one byte
        self._pack: float | None = None  # seconds to compress one byte
        self._since_try = self._unseen = 0
        self._to_measure = 2

    def pays(self, trial: Trial) -> bool:
        """Whether to compress the next part of a payload."""
        if self._to_measure > 0 and self._pack is not None:
            return False
        self._since_try += 1
        if self._byte is None or self._pack is None or self._since_try >= _AGAIN:
            return True
        ratio = trial.ratio if trial.ratio is not None else 0.0
        took = trial.seconds if trial.seconds is not None else self._pack
        return took * _MARGIN < self._byte * (1.0 - ratio)

    def packed(self, trial: Trial, size: int, packed: int, seconds: float) -> None:
        """Note that a part was compressed, from `size` to `packed` bytes."""
        self._since_try = 0
        trial.ratio = _mixed(trial.ratio, packed / size)
        trial.seconds = _mixed(trial.seconds, seconds / size)
        self._pack = _mixed(self._pack, seconds / size)

    def sent(self, size: int, seconds: float, packing: float) -> None:
        """
        Note that a part was sent.

        :param size: the number of bytes that were sent
        :param seconds: how long the link took
        :param packing: how long compressing the part took before; 0 if it was not compressed
        """
        if packing and seconds < packing:  # the link waited for the compression, so its speed is unknown
            self._unseen += 1
            if self._unseen >= _UNSEEN:
                self._unseen, self._to_measure = 0, _MEASURED
            return
        self._byte = _mixed(self._byte, (seconds + packing) / size)
        if not packing:
            self._to_measure -= 1


class Trial:
    """Measurements of one payload."""

    __slots__ = ("ratio", "seconds")

    def __init__(self) -> None:
        self.ratio: float | None = None
        self.seconds: float | None = None  # to compress a byte of it


def _mixed(known: float | None, new: float) -> float:
    return new if known is None else known + _WEIGHT * (new - known)
