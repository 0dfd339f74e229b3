import asyncio
import sys

from woolexec.core.stack_text import SIZE
from woolexec.worker import stacks
from woolexec.worker.stacks import _chain, _fitting, _plain, _steps, _text


def names(steps):
    return [frame.f_code.co_name for frame, _ in steps]


def here():
    return _steps(sys._getframe())


def test_steps_of_a_thread_are_outermost_first():
    assert names(here())[-2:] == ["test_steps_of_a_thread_are_outermost_first", "here"]


def test_thread_that_runs_no_call_has_none():
    assert list(_plain(sys._getframe())) == []
    assert list(_plain(None)) == []


def test_text_names_functions_with_their_classes():
    assert _text(here()).endswith(", in here")


def test_coroutine_is_followed_through_generators_to_where_it_waits():
    async def items():
        await asyncio.sleep(3600)
        yield

    async def inner():
        async for _ in items():
            pass

    async def outer():
        await inner()

    async def main():
        task = asyncio.create_task(outer())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        found = names(_chain(task.get_coro(), []))
        task.cancel()
        return found

    assert asyncio.run(main()) == ["outer", "inner", "items", "sleep"]


def test_coroutine_that_runs_is_followed_into_its_thread():
    async def running():
        return names(_chain(asyncio.current_task().get_coro(), here()))

    assert asyncio.run(running())[:2] == ["running", "here"]


def test_coroutine_that_has_ended_has_no_steps():
    async def nothing():
        pass

    coroutine = nothing()
    coroutine.close()

    assert list(_chain(coroutine, [])) == []


def test_report_is_cut_to_what_there_is_room_for_and_says_so():
    entries = [(number, 1.0, "x" * 2 * SIZE) for number in range(10)]

    report = _fitting(entries, 40_000)

    assert report.call == (0, 1, 2)
    assert [len(stack) for stack in report.stack] == [SIZE] * 3
    assert report.left_out == 7
    assert len(report.body()) < 40_000


def test_report_of_a_bug_is_an_answer_all_the_same(monkeypatch):
    class Area:
        limit = 1000
        asked = 1

        def answer(self, number, report):
            self.asked, self.report = 0, report

    def fail(_lanes):
        raise LookupError("a bug")

    monkeypatch.setattr(stacks, "_entries", fail)
    area = Area()

    stacks.answer(area, {})

    assert area.report.refused == "LookupError('a bug')"
