import os

import pytest

from woolexec.platform.ipc import shared_file
from woolexec.wire.frames import Inspected
from woolexec.wire.shared_page import DUMPS, LEAST, SIZE, STACKS, SharedPage
from woolexec.wire.stack_area import A_LOOP


@pytest.fixture
def file():
    fd = shared_file(SIZE)
    yield fd
    os.close(fd)


@pytest.fixture
def pages(file):
    """The engine's end and the worker's: two maps of one file."""
    pages = SharedPage(file), SharedPage(file)
    yield pages
    for page in pages:
        page.close()


@pytest.fixture
def areas(pages):
    return [page.stacks for page in pages]


def test_worker_that_has_not_said_so_cannot_be_asked(pages):
    assert not pages[0].is_ready

    pages[1].set_ready()

    assert pages[0].is_ready


def test_question_is_seen_until_it_is_answered(pages, areas):
    engine, worker = areas
    number = engine.ask()

    assert pages[1].is_asked
    assert worker.asked == number
    assert not engine.is_answered(number)
    worker.answer(number, Inspected(call=(1, 2), stack=("a", "b")))
    assert engine.is_answered(number)
    assert not pages[1].is_asked
    assert worker.asked == 0
    assert engine.report() == Inspected(call=(1, 2), stack=("a", "b"))


def test_answer_to_a_later_question_answers_those_before_it(areas):
    engine, worker = areas
    first, second = engine.ask(), engine.ask()

    worker.answer(worker.asked, Inspected())

    assert engine.is_answered(first)
    assert engine.is_answered(second)


def test_report_that_is_being_written_is_not_read(areas):
    engine, worker = areas
    worker.answer(engine.ask(), Inspected(call=(1,)))
    worker._words[12] = 1

    assert engine.report() is None


@pytest.mark.parametrize("data", [b"\xff\xff\xff\xff\xff", b"\x05\0\0\0\xff\xff\xff\xff\xff", b"\x03\0\0\0\x12\x7fx"])
def test_nonsense_of_a_task_is_no_report(file, areas, data):
    os.pwrite(file, data, STACKS)

    assert areas[0].report() is None


def test_dumps_are_read_from_where_they_begin_and_cleared_by_an_answer(file, areas):
    engine, worker = areas
    assert engine.dump_start == DUMPS
    os.pwrite(file, b"one\ntwo\n", DUMPS)

    assert engine.dumped(DUMPS) == b"one\ntwo\n"
    assert engine.dumped(DUMPS + 4) == b"two\n"
    assert engine.room == LEAST - DUMPS - 8
    worker.answer(engine.ask(), Inspected())
    assert engine.dumped(DUMPS) == b""


def test_largest_report_has_room_before_the_dumps(file, areas):
    engine, worker = areas
    os.pwrite(file, b"dump", DUMPS)
    report = Inspected(refused="x" * (engine.limit - 10))

    worker.answer(engine.ask(), report)

    assert engine.limit - 10 < len(report.body()) <= engine.limit
    assert engine.report() == report


def test_threads_are_known_as_long_as_they_run(areas):
    engine, worker = areas
    first, _ = worker.note_thread(5, 100), worker.note_thread(A_LOOP, 101)

    assert engine.threads == {5: 100, A_LOOP: 101}
    worker.forget_thread(first)
    worker.note_thread(6, 102)
    assert engine.threads == {6: 102, A_LOOP: 101}


def test_more_threads_than_there_is_room_for_are_not_noted(areas):
    engine, worker = areas
    places = [worker.note_thread(number, number) for number in range(1, 100)]

    worker.forget_thread(places[-1])

    assert places[-1] == -1
    assert len(engine.threads) == 64


def test_crash_report_ends_before_the_stacks(file, pages):
    os.pwrite(file, b"x" * 8192, STACKS - 4096)

    assert pages[0].crash_report == b"x" * 4096
