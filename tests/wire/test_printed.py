"""Decoding the contents of a worker's pipes."""

import random

import pytest

from woolexec.wire.printed import LONGEST, MAGIC, STDERR, STDOUT, Decoder, lost_record, record


def lines(printed):
    return [(each.call, each.stream, each.text) for each in printed]


def test_record_names_its_call_and_stream():
    assert lines(Decoder(STDOUT).feed(record(7, 1, STDERR, b"one\n"))) == [(7, STDERR, b"one\n")]


def test_lines_of_one_source_that_follow_each_other_are_one():
    data = record(7, 1, STDOUT, b"one\n") + record(7, 2, STDOUT, b"two\n") + record(8, 1, STDOUT, b"three\n")
    assert lines(Decoder(STDOUT).feed(data)) == [(7, STDOUT, b"one\ntwo\n"), (8, STDOUT, b"three\n")]


def test_other_bytes_are_of_nobody_and_keep_their_place_between_records():
    data = b"before\n" + record(7, 1, STDERR, b"of 7\n") + b"behind\nbegun"
    decoder = Decoder(STDOUT)
    assert lines(decoder.feed(data)) == [
        (None, STDOUT, b"before\n"),
        (7, STDERR, b"of 7\n"),
        (None, STDOUT, b"behind\n"),
    ]
    assert lines(decoder.end_line()) == [(None, STDOUT, b"begun\n")]
    assert decoder.end_line() == []


def test_carriage_return_ends_a_line():
    assert lines(Decoder(STDOUT).feed(b" 10%\r 20%\r 3")) == [(None, STDOUT, b" 10%\r 20%\r")]


def test_long_line_is_one_although_other_threads_write_records_between_its_own():
    data = record(7, 1, STDOUT, b"a" * LONGEST, goes_on=True)
    data += record(7, 2, STDOUT, b"other\n") + record(7, 1, STDOUT, b"b\n")
    assert lines(Decoder(STDOUT).feed(data)) == [(7, STDOUT, b"other\n" + b"a" * LONGEST + b"b\n")]


def test_line_without_end_is_passed_on_when_it_is_long():
    decoder, pieces = Decoder(STDOUT), []
    for _ in range(40):
        pieces += decoder.feed(b"x" * 4096)
    assert sum(len(each.text) for each in pieces) >= 128 << 10
    assert all(len(each.text) < 80_000 for each in pieces)


def test_many_lines_of_c_code_that_come_at_once_leave_the_last_one_whole():
    data = b"x" * 99 + b"\n"
    decoder = Decoder(STDOUT)
    assert lines(decoder.feed(data * 1000 + b"beg")) == [(None, STDOUT, data * 1000)]
    assert lines(decoder.feed(b"un\n")) == [(None, STDOUT, b"begun\n")]


def test_lost_bytes_are_told_where_they_are_missing():
    before, lost, behind = Decoder(STDOUT).feed(
        record(7, 1, STDOUT, b"one\n") + lost_record(7, 1 << 40) + record(7, 1, STDOUT, b"two\n")
    )
    assert (before.lost, lost.lost, lost.text, behind.text) == (0, 1 << 40, b"", b"two\n")


@pytest.mark.parametrize("seed", range(20))
def test_where_data_is_cut_makes_no_difference(seed):
    rng = random.Random(seed)
    parts = [
        rng.choice(
            [record(rng.randrange(1, 4), 1, rng.choice((STDOUT, STDERR)), b"text\n"), b"raw\n", MAGIC, b"\0", b"\0\xf5"]
        )
        for _ in range(50)
    ]
    data = b"".join(parts)

    def decoded(cuts):
        decoder, found = Decoder(STDOUT), []
        for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
            found += decoder.feed(data[start:end])
        found += decoder.end()
        joined = []
        for call, stream, text in lines(found):
            if joined and joined[-1][:2] == (call, stream):
                joined[-1] = call, stream, joined[-1][2] + text
            else:
                joined.append((call, stream, text))
        return joined

    assert decoded(sorted(rng.sample(range(len(data)), 9))) == decoded([])


def test_magic_number_that_a_task_prints_harms_nothing():
    decoder = Decoder(STDOUT)
    assert lines(decoder.feed(MAGIC + b"\xff" * 40 + b"\n")) == [(None, STDOUT, MAGIC + b"\xff" * 40 + b"\n")]
    assert lines(decoder.feed(MAGIC + b"rest of nothing")) == []
    assert b"".join(each.text for each in decoder.end()) == MAGIC + b"rest of nothing\n"
