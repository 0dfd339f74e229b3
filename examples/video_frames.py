"""
Decode a video in one worker and analyse its frames in the others, with a bounded number of frames in memory.

    pip install woolexec numpy opencv-python-headless
    python video_frames.py VIDEO.mp4

Without a file it makes up frames, and needs only numpy.
"""

import sys
from collections.abc import Iterator

import numpy as np

from woolexec import PeerPoolExecutor


def decode(path: str) -> Iterator[np.ndarray]:
    """Yield the frames of a file.  This is a generator, so it runs in a worker as a stream."""
    import cv2  # only this worker needs it

    video = cv2.VideoCapture(path)
    try:
        while True:
            there, frame = video.read()
            if not there:
                return
            yield frame
    finally:  # also if the consumer stops early: leaving the `with` block closes the generator
        video.release()


def make_up(count: int = 48, height: int = 360, width: int = 640) -> Iterator[np.ndarray]:
    """Yield frames with a bright square that moves to the right."""
    for n in range(count):
        frame = np.zeros((height, width, 3), np.uint8)
        frame[100:140, 10 * n : 10 * n + 40] = 255
        yield frame


def brightest_column(frame: np.ndarray) -> int:
    """Return where the frame is brightest: put your own analysis here."""
    return int(frame.sum(axis=(0, 2), dtype=np.uint64).argmax())


def main() -> None:
    source = (decode, sys.argv[1]) if len(sys.argv) > 1 else (make_up,)
    with PeerPoolExecutor() as pool:
        # prefetch: the decoder may be 8 frames ahead.  buffersize: at most 16 frames are on their way to workers.
        # Without buffersize, map would read the whole video before it gave the first result.
        with pool.stream(*source, prefetch=8) as frames:
            for number, column in enumerate(pool.map(brightest_column, frames, buffersize=16)):
                print(f"frame {number}: column {column}")


main()
