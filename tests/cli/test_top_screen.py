import pytest

from woolexec.cli.top_screen import DOWN, ENTER, ESCAPE, TAB, UP, Screen, keys_of
from woolexec.core.task_stack import Stacks, TaskStack
from woolexec.statistics import Durations, FunctionStatistics, PeerStatistics, Statistics, WorkerStatistics


def function(name, count, total, p95):
    return FunctionStatistics(name, count, failures=count % 3, run=Durations(count, total, p95=p95))


def statistics(workers=3, **options):
    made = [
        WorkerStatistics(100 + n, "node7", "running", f"task{n}", seconds=n, memory=(workers - n) << 20, cpu=n % 2)
        for n in range(workers)
    ]
    functions = (function("often", 900, 9.0, 0.01), function("slow", 2, 8.0, 4.0))
    options = {"functions": functions, "workers": tuple(made), **options}
    return Statistics(time=1000.0, pid=7, host="node7", **options)


def texts(screen, *found, width=80, height=24):
    return [line.text for line in screen.lines(found, width, height, "pool of process 7")]


def tasks(screen, *found, **size):
    return [text.split()[0] for text in texts(screen, *found, **size) if text.startswith("task") and text[4].isdigit()]


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("height", [5, 24, 60])
@pytest.mark.parametrize("workers", [0, 1, 3, 200])
def test_the_screen_is_filled_and_the_last_line_names_the_keys(width, height, workers):
    peers = tuple(PeerStatistics(f"node{n}:5555", "", "") for n in range(workers))
    shown = texts(Screen(), statistics(workers, peers=peers), width=width, height=height)
    assert len(shown) == height
    assert all(len(text) <= width for text in shown)
    assert shown[-1].startswith("q quit")


def test_80_columns_name_all_keys():
    (*_, last) = texts(Screen(), statistics())
    assert last.endswith("t n p x")


def test_workers_are_sorted_by_the_time_of_their_tasks_and_by_what_a_key_says():
    screen, found = Screen(), statistics(3)
    assert tasks(screen, found) == ["task2", "task1", "task0"]
    screen.press("m", [found])
    assert tasks(screen, found) == ["task0", "task1", "task2"]
    screen.press("c", [found])
    assert tasks(screen, found)[0] == "task1"
    assert any("worker's task, by cpu" in text for text in texts(screen, found))


@pytest.mark.parametrize(("key", "first"), [("t", "often"), ("n", "often"), ("p", "slow"), ("x", "slow")])
def test_functions_are_sorted_by_what_a_key_says(key, first):
    screen, found = Screen(), statistics()
    screen.press(key, [found])
    shown = texts(screen, found)
    (heading,) = [number for number, text in enumerate(shown) if text.startswith("function")]
    assert shown[heading + 1].startswith(first)


def test_lost_workers_are_last():
    lost = WorkerStatistics(99, "node7", "lost", "task9", seconds=1e6, lost="SIGKILL")
    found = Statistics(1000.0, 7, "node7", workers=(lost, *statistics(2).workers))
    shown = texts(Screen(), found)
    rows = [text for text in shown if text.startswith(("task", "SIGKILL"))]
    assert rows[-1].startswith("SIGKILL")


def test_the_chosen_worker_stays_chosen_when_the_order_changes():
    screen, found = Screen(), statistics(3)
    screen.press(DOWN, [found])
    screen.press(DOWN, [found])
    assert screen.worker == 101
    screen.press("m", [found])
    (line,) = [line for line in screen.lines([found], 80, 24) if line.is_chosen]
    assert line.text.startswith("task1")
    assert line.state == "running"


def test_the_choice_ends_at_the_first_and_the_last_worker():
    screen, found = Screen(), statistics(3)
    screen.press(UP, [found])
    screen.press(UP, [found])
    assert screen.worker == 102
    for _ in range(9):
        screen.press(DOWN, [found])
    assert screen.worker == 100
    screen.press(UP, [statistics(0)])
    assert screen.worker == 0


def test_the_chosen_worker_of_very_many_is_on_the_screen():
    screen, found = Screen(), statistics(200)
    for pressed in range(200):
        screen.press(DOWN, [found])
        (line,) = [line for line in screen.lines([found], 80, 24) if line.is_chosen]
        assert line.text.startswith(f"task{199 - pressed} ")


def test_each_line_of_a_worker_has_its_state():
    workers = tuple(WorkerStatistics(1 + n, "", state) for n, state in enumerate(["idle", "starting", "ending"]))
    lines = Screen().lines([Statistics(1.0, 7, "node7", workers=workers)], 80, 24)
    assert [line.state for line in lines if line.state] == ["idle", "starting", "ending"]
    assert all(line.state in line.text for line in lines)


def test_tab_shows_the_next_pool():
    screen, found = Screen(), [statistics(1), statistics(2)]
    assert "(1 of 2)" in texts(screen, *found)[0]
    screen.press(DOWN, found)
    screen.press(TAB, found)
    assert "(2 of 2)" in texts(screen, *found)[0]
    assert (len(tasks(screen, *found)), screen.worker) == (2, 0)
    assert "of" not in texts(screen, found[0])[0].removeprefix("pool of")  # the other one has ended


def test_the_stack_of_the_chosen_worker_is_shown_until_another_key():
    screen, found = Screen(), statistics(3)
    screen.press(DOWN, [found])
    stacks = Stacks(
        [
            TaskStack(1, "other", 1.0, "node7", 101, "not this"),
            TaskStack(2, "task2", 2.0, "node7", 102, "\n".join(f"line {n}" for n in range(100))),
            TaskStack(3, "away", 2.0, "node8", 102, "nor this", peer="node8:5555"),
        ]
    )
    screen.show_stacks(stacks)
    shown = texts(screen, found)
    assert shown[-2:] == ["line 99", "q quit  escape back"]
    assert "this" not in "".join(shown)
    screen.press(ESCAPE, [found])
    assert tasks(screen, found) == ["task2", "task1", "task0"]
    screen.show_stacks(Stacks())
    assert "worker 102 runs no task" in texts(screen, found)


def test_it_is_asked_about_each_task_of_the_chosen_worker_whether_it_is_to_be_cancelled():
    screen, found = Screen(), [statistics(3)]
    screen.press(DOWN, found)
    tasks = [
        TaskStack(1, "other", 1.0, "h", 101),
        TaskStack(2, "long", 9.0, "h", 102),
        TaskStack(3, "short", 1.0, "h", 102),
    ]
    asked = None
    for name in ("long", "short", "long"):
        screen.press("k", found)
        assert screen.asked_about is None  # until there is an answer to what runs
        screen.ask_to_cancel(Stacks(tasks), asked)
        asked = screen.asked_about
        assert asked.function == name
        shown = texts(screen, *found)
        assert shown[2].startswith("Cancel this task by force?")
        assert shown[4].startswith(f"{name} (task {asked.task})")
        assert shown[-1].startswith("y cancel it")
    screen.press(ESCAPE, found)
    assert screen.asked_about is None
    screen.ask_to_cancel(Stacks())
    assert (screen.asked_about, texts(screen, *found)[2]) == (None, "worker 102 runs no task")


def test_nothing_of_hostile_names_reaches_the_terminal():
    evil = "\x1b[2J\r\n\x9b1m\u202e"
    worker = WorkerStatistics(102, evil, "running", evil, seconds=1.0, progress=(1.0, 2.0, evil), actor=evil)
    peer = PeerStatistics(evil, evil, evil)
    found = Statistics(1.0, 7, evil, functions=(function(evil, 1, 1, 1),), workers=(worker,), peers=(peer,))
    screen = Screen()
    assert all(map(str.isprintable, texts(screen, found, width=200)))
    screen.press(DOWN, [found])
    screen.show_stacks(Stacks([TaskStack(1, evil, 1.0, evil, 102, evil, evil, "", evil)]))
    assert all(map(str.isprintable, texts(screen, found, width=200)))
    screen.ask_to_cancel(Stacks([TaskStack(1, evil, 1.0, evil, 102, evil, evil, "", evil)]))
    assert all(map(str.isprintable, texts(screen, found, width=200)))
    screen.say(evil)
    assert all(map(str.isprintable, texts(screen, found, width=200)))


def test_keys_have_names():
    assert list(keys_of("q\x1b[A\x1b[B\x1bOA\x1bOB\r\n\t\x1b\x1bx")) == [
        *("q", UP, DOWN, UP, DOWN, ENTER, ENTER, TAB, ESCAPE, ESCAPE, "x")
    ]
