import json
import random
import tracemalloc

import pytest

from tests.mesh.test_large import returning, written
from woolexec.core.compressing import Compressing, Trial
from woolexec.errors import ProtocolError
from woolexec.mesh.link import compression
from woolexec.mesh.link.arriving import Arriving
from woolexec.mesh.link.compression import PART, Packing, decompress, formats
from woolexec.mesh.link.outbox import Outbox
from woolexec.wire.fast_frames import decode
from woolexec.wire.frames import Part
from woolexec.wire.payload import store

TEXT = json.dumps([{"name": f"user{number}", "score": number * 1.37} for number in range(15_000)]).encode()[:PART]
NAMES = pytest.mark.parametrize("name", ["zstd", "lz4"])


@pytest.fixture(autouse=True)
def always(monkeypatch):
    monkeypatch.setattr(Compressing, "pays", lambda *_: True)


def needs(*names):
    for name in names:
        if not compression._module_of(name):
            pytest.skip(f"{name} is not installed")


def packed(name, data=TEXT):
    needs(name)
    [part] = decode(Packing((name,), (name,)).part(7, data, Trial()), 0)
    return part


@NAMES
def test_part_arrives_as_it_was(name):
    part = packed(name)
    assert part.call == 7
    assert len(part.data) < len(TEXT) / 3
    assert decompress(part, ("zstd", "lz4")) == TEXT


@NAMES
def test_part_that_would_not_become_smaller_is_sent_as_it_is(name):
    data = random.Random(1).randbytes(PART)
    part = packed(name, data)
    assert (part.data, part.compression) == (data, 0)


@pytest.mark.parametrize(
    ("ours", "theirs", "number"),
    [
        (("zstd", "lz4"), ("zstd", "lz4"), 1),
        (("zstd", "lz4"), ("lz4",), 2),
        (("lz4",), ("zstd", "lz4"), 2),
        (("zstd",), ("lz4",), 0),
        ((), ("zstd",), 0),
        (("zstd",), ("of tomorrow",), 0),
    ],
)
def test_best_format_is_used_that_both_ends_have(ours, theirs, number):
    needs("zstd", "lz4")
    [part] = decode(Packing(ours, theirs).part(7, TEXT, Trial()), 0)
    assert part.compression == number
    assert decompress(part, theirs) == TEXT


def test_format_that_was_not_offered_is_refused():
    with pytest.raises(ValueError, match="not offered"):
        decompress(packed("zstd"), ("lz4",))
    with pytest.raises(ValueError, match="not offered"):
        decompress(Part(call=1, data=b"x", size=1, compression=3), ("zstd", "lz4"))


@NAMES
@pytest.mark.parametrize("size", [0, 1, PART - 11, PART - 9, PART + 1, 1 << 31])
def test_part_that_lies_about_its_size_is_refused(name, size):
    part = packed(name, TEXT[: PART - 10])
    assert part.size != size
    part.size = size
    with pytest.raises(ValueError, match="received a compressed part"):
        decompress(part, (name,))


@NAMES
@pytest.mark.parametrize("more", [-1, 1, -1 << 30, 100], ids=["cut", "longer", "empty", "much longer"])
def test_part_that_is_no_whole_frame_is_refused(name, more):
    part = packed(name)
    part.data = bytes(part.data)[: more if more < 0 else None] + b"x" * more
    with pytest.raises(ValueError, match="cannot be decompressed"):
        decompress(part, (name,))


@NAMES
def test_bomb_takes_no_more_memory_than_it_says(name):
    needs(name)
    bomb = compression._functions(name)[0](bytes(64 << 20))
    part = Part(call=1, data=bomb, size=PART, compression=compression._NUMBERS[name])
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="cannot be decompressed"):
            decompress(part, (name,))
        assert tracemalloc.get_traced_memory()[1] < 4 * PART
    finally:
        tracemalloc.stop()


def test_frame_that_looks_back_further_than_a_part_is_refused():
    needs("zstd")
    module = compression.import_module(compression._module_of("zstd"))
    options = {module.CompressionParameter.window_log: 27}
    compressor = module.ZstdCompressor(options=options)
    data = compressor.compress(b"x", mode=compressor.FLUSH_BLOCK) + compressor.flush()  # its length was not known
    with pytest.raises(ValueError, match="cannot be decompressed"):
        decompress(Part(call=1, data=data, size=1, compression=1), ("zstd",))


def test_decompressed_bytes_count_against_the_limit_of_what_arrives_in_part():
    arriving = Arriving(PART + PART // 2, ("zstd",))
    arriving.add(packed("zstd"))
    assert arriving.size == len(TEXT)
    with pytest.raises(ProtocolError, match="too much has arrived in part"):
        arriving.add(packed("zstd"))


@NAMES
def test_payload_arrives_whole_however_its_parts_were_sent(name, monkeypatch):
    needs(name)
    outbox, arriving = Outbox(set(), packing=Packing((name,), (name,))), Arriving(offered=(name,))
    turns = iter([True, False] * 10)
    monkeypatch.setattr(Compressing, "pays", lambda *_: next(turns))
    parts = [TEXT * 3, bytes(700), TEXT[::-1]]
    outbox.put_frame(7, returning(7), store(parts))
    *sent, frame = [frame for batch in written(outbox, 5) for frame in batch]
    assert {part.compression for part in sent} == {0, compression._NUMBERS[name]}
    for part in sent:
        arriving.add(part)
    assert [bytes(part) for part in arriving.take(frame).load()] == parts


def test_names_say_what_may_be_used():
    needs("zstd", "lz4")
    assert formats("auto") == ("zstd", "lz4")
    assert formats("lz4") == ("lz4",)
    assert formats("off") == formats(None) == ()
    with pytest.raises(ValueError, match="'zstd' or 'lz4', not 'gzip'"):
        formats("gzip")
    with pytest.raises(TypeError, match="compression must be"):
        formats(3)


def test_format_that_is_not_installed_is_named_with_what_to_install(monkeypatch):
    monkeypatch.setattr(compression, "_module_of", lambda _: "")
    assert formats("auto") == ()
    with pytest.raises(ValueError, match=r"pip install 'woolexec\[compression\]'"):
        formats("zstd")
