"""Rows 30, 31, 32, 44 and 46: clocks, limits, floods; which state workers inherit."""

import errno
import logging
import multiprocessing.spawn
import os
import signal
import socket
import sys
import threading
from collections import Counter

import pytest

from woolexec import PeerPoolExecutor, WorkerStartError
from woolexec.cpus import usable_cpus

from . import tasks, tasks_b
from .tasks import SOON

linux = pytest.mark.linux


def output(caller):
    code, out, err = caller.end()
    assert code == 0, err
    return out.split("\n")[:-1]


# -- the clock --------------------------------------------------------------------------------------------------------

FROZEN = "time.time = time.monotonic = time.perf_counter = lambda: 0.0"
JUMPING = "real, jumps = time.time, itertools.cycle([3600, -3600]); time.time = lambda: real() + next(jumps)"


@pytest.mark.parametrize("patch", [FROZEN, JUMPING], ids=["frozen", "jumping"])
def test_timeouts_are_true_under_a_patched_clock(run, patch):
    script = f"""
        import itertools, time
        from tests.faults import tasks
        from woolexec import PeerPoolExecutor
        with PeerPoolExecutor(2) as pool:
            pool.submit(abs, -1).result()
            {patch}
            try: pool.with_options(timeout=0.2).submit(tasks.nap, 600).result()
            except TimeoutError: print("timeout of a task")
            napping = pool.submit(tasks.nap, 0.5)
            try: napping.result(0.05)
            except TimeoutError: print("timeout of result")
            try: list(pool.map(tasks.nap, [0.5], timeout=0.05))
            except TimeoutError: print("timeout of map")
            print(napping.result(20))
    """
    assert output(run(script)) == ["timeout of a task", "timeout of result", "timeout of map", "0.5"]


# -- limits -----------------------------------------------------------------------------------------------------------

LIMITED = """
    import os, resource
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    def allow(more):
        free = os.open(os.devnull, os.O_RDONLY)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free + more, before[1]))
    allow(80)
    from tests.faults import tasks_b
    from woolexec import PeerPoolExecutor
"""


def test_limit_on_the_size_of_files_is_none_on_payloads(run):
    script = """
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))  # less than two ring buffers
    from woolexec import PeerPoolExecutor
    from woolexec.cli.local_peers import local_peers
    def work(pool):
        for size in 1_000, 100_000, 5_000_000:
            shared = pool.put(bytes(size))
            print(*{len(pool.submit(bytes, size).result(20)), pool.submit(len, bytearray(size)).result(20),
                    pool.submit(len, shared).result(20), *map(len, pool.map(bytearray, [size] * 3))})
    with PeerPoolExecutor(1) as pool:
        work(pool)
    with local_peers(1, 1) as (addresses, credentials):
        with PeerPoolExecutor(0, peers=addresses, credentials=credentials) as pool:
            work(pool)
    """
    assert output(run(script)) == ["1000", "100000", "5000000"] * 2


def test_start_without_descriptors_gives_a_clear_error_and_works_once_there_are_some(run):
    script = """
    with PeerPoolExecutor(1) as pool:
        allow(4)  # enough for the engine's thread, and not for a worker
        error = pool.submit(abs, -1).exception(20)
        print(type(error).__name__, "Too many open files" in str(error))
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        print(pool.submit(abs, -1).result(20))
    """
    assert output(run(LIMITED + script)) == ["WorkerStartError True", "1"]


def test_actor_without_descriptors_raises_although_workers_of_other_tasks_run(run):
    script = """
    from tests.faults.actors import Counter
    with PeerPoolExecutor(1) as pool:
        print(pool.submit(abs, -1).result(20))
        allow(4)
        actors = [pool.actor(Counter) for _ in range(3)]
        errors = [actor.submit(Counter.add, 1).exception(20) for actor in actors]
        print(*(type(error).__name__ for error in errors), "limit of open files" in str(errors[0]))
        print(pool.submit(abs, -2).result(20))
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        with pool.actor(Counter) as actor:
            print(actor.submit(Counter.add, 3).result(20))
    """
    said = ["1", "WorkerStartError WorkerStartError WorkerStartError True", "2", "3"]
    assert output(run(LIMITED + script)) == said


def test_first_task_without_descriptors_raises_at_once_and_the_next_one_runs(run):
    script = """
    import threading
    pool = PeerPoolExecutor(1)
    for more in range(3):
        allow(more)
        try: pool.submit(abs, -1)
        except OSError as exc: print(exc.strerror, exc.__context__)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    print(threading.active_count(), pool.submit(abs, -1).result(20))
    pool.shutdown()
    """
    assert output(run(LIMITED + script)) == [*["Too many open files None"] * 3, "1 1"]


ENDED = """
    import time
    from tests.limits import all_descriptors_taken
    def numbers(n): yield from range(n)
    with PeerPoolExecutor(1) as pool:
        pid = pool.submit(os.getpid).result()
        future = pool.submit(*{call})
        while {waits}: time.sleep(0.01)
        with all_descriptors_taken():
            {act}
            while not future.done(): time.sleep(0.01)
        print({answer})
        print(pool.submit(abs, -1).result(20))
"""


@pytest.mark.parametrize(
    ("call", "waits", "act", "answer", "printed"),
    [
        ("(numbers, 3)", "False", "pass", "*future.result()", "0 1 2"),
        (
            "(time.sleep, 60)",
            "not future.running()",
            "os.kill(pid, 9)",
            "*[kind.__name__ for kind in type(future.exception()).__mro__[:3]]",
            "WorkerLostError {}",
        ),
    ],
    ids=["a stream begins", "a worker dies"],
)
def test_engine_needs_no_descriptor_when(run, call, waits, act, answer, printed):
    script = LIMITED + ENDED.format(call=call, waits=waits, act=act, answer=answer)
    assert output(run(script)) == [printed.format("WoolexecError BrokenProcessPool"), "1"]


def test_engine_goes_on_without_a_descriptor_for_what_it_loads_later(run):
    script = """
    import time
    from tests.limits import all_descriptors_taken
    with PeerPoolExecutor(1, slow_after=1.0) as pool:
        future = pool.submit(time.sleep, 1.5)
        while not future.running(): time.sleep(0.001)
        with all_descriptors_taken():
            try: pool.stacks()
            except OSError as exc: print(exc.strerror)
            print(future.result())
        print(len(pool.stacks()), pool.submit(abs, -1).result(20))
    """
    assert output(run(LIMITED + script)) == ["Too many open files", "None", "0 1"]


def test_engine_needs_no_descriptor_when_it_first_sends_a_large_argument(run, tmp_path):
    script = f"""
    import time
    def wait():
        import os, time
        while not os.path.exists({str(tmp_path / "go")!r}): time.sleep(0.001)
    from tests.limits import all_descriptors_taken
    with PeerPoolExecutor(1) as pool:
        waiting = pool.submit(wait)
        while not waiting.running(): time.sleep(0.001)
        futures = [pool.submit(len, bytes(200_000)) for _ in range(5)]
        with all_descriptors_taken():
            os.mkdir({str(tmp_path / "go")!r})
            print(*[future.result(20) for future in futures])
    """
    assert output(run(LIMITED + script)) == [" ".join(["200000"] * 5)]


def test_more_large_results_than_descriptors_all_arrive(run):
    script = """
    with PeerPoolExecutor(2) as pool:
        futures = [pool.submit(tasks_b.blob, 200_000) for _ in range(300)]
        print({len(future.result(20)) for future in futures})
    """
    assert output(run(LIMITED + script)) == ["{200000}"]


def test_more_large_arguments_than_descriptors_all_arrive(run):
    script = """
    with PeerPoolExecutor(2) as pool:
        pool.submit(abs, -1).result()
        futures = [pool.submit(len, bytes(200_000)) for _ in range(300)]
        print({future.result(20) for future in futures})
    """
    assert output(run(LIMITED + script)) == ["{200000}"]


@linux
def test_worker_without_descriptors_goes_on_with_small_tasks_and_large_results(lone):
    lone.submit(tasks_b.fill_descriptors, 64).result(SOON)
    assert lone.submit(abs, -1).result(SOON) == 1
    assert len(lone.submit(tasks_b.blob, 1 << 20).result(SOON)) == 1 << 20


@linux
def test_large_argument_for_a_worker_without_descriptors_costs_that_task_at_most(lone):
    lone.submit(tasks_b.fill_descriptors, 64).result(SOON)
    future = lone.submit(len, bytes(1 << 20))
    error = future.exception(SOON)
    assert error is not None or future.result() == 1 << 20
    assert lone.submit(abs, -1).result(SOON) == 1


def test_task_that_runs_out_of_descriptors_sees_the_error_itself(lone):
    lone.submit(tasks_b.limit_descriptors, 64).result(SOON)
    assert lone.submit(tasks_b.take_all_descriptors).result(SOON) == errno.EMFILE


def test_executor_without_a_thread_raises_at_once_and_says_nothing_at_the_end(run):
    script = """
        import os, resource
        from woolexec import PeerPoolExecutor
        PeerPoolExecutor(1).shutdown()
        if os.getuid() == 0:
            os.setgid(65534); os.setuid(65534)
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
        try: PeerPoolExecutor(1).submit(abs, -1)
        except RuntimeError as exc: print(exc)
    """
    code, out, err = run(script).end()
    assert (code, out, err) == (0, "can't start new thread\n", "")


@pytest.mark.parametrize("bad", ["/nonexistent/python", "/bin/false"])
def test_interpreter_that_does_not_start_gives_a_clear_error(monkeypatch, bad):
    monkeypatch.setattr(multiprocessing.spawn, "_python_exe", bad)
    with PeerPoolExecutor(1) as executor:
        error = executor.submit(abs, -1).exception(SOON)
    assert type(error) is WorkerStartError
    assert bad in str(error)


def test_no_temporary_directory_is_needed(run, tmp_path):
    script = """
        import os, sys, tempfile
        os.environ["TMPDIR"] = tempfile.tempdir = sys.argv[1]
        from tests.faults import tasks_b
        from woolexec import PeerPoolExecutor
        with PeerPoolExecutor(1) as pool:
            print(len(pool.submit(tasks_b.echo, bytes(1 << 20)).result(20)))
    """
    assert output(run(script, tmp_path / "nowhere")) == [str(1 << 20)]


def test_no_memory_files_left_sends_large_data_another_way(lone, monkeypatch):
    def refuse(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    lone.submit(abs, -1).result(SOON)
    monkeypatch.setattr(os, "memfd_create", refuse, raising=False)
    assert lone.submit(tasks_b.ends, b"a" + bytes(1 << 20)).result(SOON) == ((1 << 20) + 1, b"a", b"\0")


def test_platform_without_memory_files_uses_unlinked_ones(monkeypatch):
    monkeypatch.delattr(os, "memfd_create", raising=False)
    with PeerPoolExecutor(1) as executor:
        assert executor.submit(tasks_b.ends, b"a" + bytes(1 << 20)).result(SOON) == ((1 << 20) + 1, b"a", b"\0")


# -- floods -----------------------------------------------------------------------------------------------------------


def test_task_that_floods_stdout_finishes(run):
    script = """
        from tests.faults import tasks_b
        from woolexec import PeerPoolExecutor
        with PeerPoolExecutor(1) as pool:
            size = pool.submit(tasks_b.flood_stdout, 64 << 20).result(20)
        print(f"\\n{size}")
    """
    flood, said = output(run(script))
    assert (len(flood), said) == (64 << 20, str(64 << 20))


class Counting(logging.Handler):
    def __init__(self):
        super().__init__()
        self.seen = 0
        self.said = []

    def emit(self, record):
        if record.name == "flood":
            self.seen += 1
        else:
            self.said.append(record.getMessage())


@pytest.fixture
def handler():
    handler = Counting()
    logging.getLogger().addHandler(handler)
    yield handler
    logging.getLogger().removeHandler(handler)


@pytest.mark.slow
def test_task_that_floods_the_log_finishes_and_every_record_is_handled_or_counted(handler):
    with PeerPoolExecutor(1) as executor:
        assert executor.submit(tasks_b.flood_log, 20_000).result(SOON) == 20_000
    dropped = sum(int(word) for text in handler.said for word in text.split() if word.isdigit())
    assert handler.seen + dropped == 20_000


@pytest.mark.slow
def test_handler_that_blocks_holds_up_neither_tasks_nor_memory_nor_threads(handler, monkeypatch):
    latch, inside = threading.Event(), threading.Event()
    monkeypatch.setattr(handler, "emit", lambda record: (inside.set(), latch.wait(SOON)))
    with PeerPoolExecutor(1) as executor:
        try:
            assert executor.submit(tasks_b.flood_log, 50_000).result(SOON) == 50_000
            assert inside.wait(SOON)
            threads = threading.active_count()
            assert executor.submit(tasks.nap, 0.3).result(SOON) == 0.3
            assert threading.active_count() == threads < 10
        finally:
            latch.set()


# -- what passes through ----------------------------------------------------------------------------------------------


def test_stdout_and_stderr_of_workers_pass_through(capfd):
    with PeerPoolExecutor(1) as executor:
        executor.submit(tasks_b.say, "hello").result(SOON)
    assert capfd.readouterr() == ("hello\n", "hello\n")


def test_output_of_a_worker_that_dies_is_not_lost(capfd):
    with PeerPoolExecutor(1) as executor:
        executor.submit(tasks_b.say_and_die, "hello").exception(SOON)
    assert capfd.readouterr().err.startswith("hello\n")


def test_replaced_stdout_of_the_caller_is_its_own_matter(capfd, monkeypatch):
    import io

    monkeypatch.setattr(sys, "stdout", io.StringIO())
    with PeerPoolExecutor(1) as executor:
        executor.submit(tasks_b.say, "hello").result(SOON)
    assert capfd.readouterr().out == "hello\n"


def test_caller_without_standard_streams_runs_tasks(run, tmp_path):
    script = """
        import os, sys
        for fd in (0, 1, 2): os.close(fd)
        from tests.faults import tasks_b
        from woolexec import PeerPoolExecutor
        with PeerPoolExecutor(1) as pool:
            code = pool.submit(tasks_b.echo_child, "x").result(20)
            size = len(pool.submit(tasks_b.echo, bytes(1 << 20)).result(20))
        with open(sys.argv[1], "w") as file: print(code, size, file=file)
    """
    run(script, tmp_path / "out").end()
    assert (tmp_path / "out").read_text() == f"0 {1 << 20}\n"


def _record(caplog, name="shop"):
    assert tasks.eventually(lambda: any(record.name == name for record in list(caplog.records)))
    return next(record for record in caplog.records if record.name == name)


@pytest.mark.parametrize("level", [logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL])
def test_logging_record_of_a_worker_reaches_the_callers_handlers_with_its_level(caplog, level):
    caplog.set_level(logging.DEBUG)
    with PeerPoolExecutor(1) as executor:
        executor.submit(tasks_b.log, level, "out of tea").result(SOON)
        record = _record(caplog)
    assert (record.levelno, record.getMessage(), record.funcName) == (level, "out of tea", "log")


def test_logging_record_tells_the_process_and_what_was_added(caplog):
    with PeerPoolExecutor(1) as executor:
        executor.submit(tasks_b.log, logging.WARNING, "out of tea", shelf=7, lock=None).result(SOON)
        record = _record(caplog)
        assert record.process == executor.submit(os.getpid).result(SOON)
    assert record.shelf == 7


def test_logged_exception_keeps_its_traceback(caplog):
    with PeerPoolExecutor(1) as executor:
        executor.submit(tasks_b.log_error).result(SOON)
        record = _record(caplog)
    assert "LookupError: no such shelf" in record.exc_text


@pytest.mark.parametrize(("level", "count"), [(logging.INFO, 0), (logging.ERROR, 1)])
def test_levels_of_the_callers_loggers_hold_in_workers(caplog, level, count):
    caplog.set_level(logging.WARNING, "shop")
    with PeerPoolExecutor(1) as executor:
        executor.submit(tasks_b.log, level, "a word").result(SOON)
        executor.submit(tasks_b.log, logging.CRITICAL, "the end", name="other").result(SOON)
        _record(caplog, "other")
    assert [record.name for record in caplog.records].count("shop") == count


def test_records_arrive_in_the_order_in_which_they_were_made(caplog):
    with PeerPoolExecutor(1) as executor:
        for number in range(50):
            executor.submit(tasks_b.log, logging.WARNING, str(number)).result(SOON)
    assert [record.getMessage() for record in caplog.records if record.name == "shop"] == [
        str(number) for number in range(50)
    ]


# -- what workers inherit ---------------------------------------------------------------------------------------------


def test_workers_share_the_processors_by_default(monkeypatch):
    monkeypatch.delenv("OPENBLAS_NUM_THREADS")
    with PeerPoolExecutor(1) as executor:
        assert executor.submit(tasks_b.environment, "OMP_NUM_THREADS").result(SOON) == str(usable_cpus())
    with PeerPoolExecutor(1000) as executor:
        assert executor.submit(tasks_b.environment, "OPENBLAS_NUM_THREADS").result(SOON) == "1"


def test_users_own_thread_variable_wins(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    with PeerPoolExecutor(1) as executor:
        assert executor.submit(tasks_b.environment, "OMP_NUM_THREADS").result(SOON) == "7"


def test_callers_own_thread_variables_are_left_alone(lone, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    lone.submit(abs, -1).result(SOON)
    assert "OMP_NUM_THREADS" not in os.environ


def test_environment_directory_path_and_arguments_are_those_of_the_caller(monkeypatch, tmp_path):
    monkeypatch.setenv("WOOLEXEC_TEST_WORD", "tea")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path / "more"))
    monkeypatch.setattr(sys, "argv", ["prog", "--flag"])
    with PeerPoolExecutor(1) as executor:
        assert executor.submit(tasks_b.environment, "WOOLEXEC_TEST_WORD").result(SOON) == "tea"
        found = executor.submit(tasks_b.surroundings).result(SOON)
    assert found["cwd"] == str(tmp_path)
    assert found["argv"] == ["prog", "--flag"]
    assert found["path"] == [os.path.abspath(entry) for entry in sys.path]


def test_changes_between_making_the_executor_and_the_first_task_are_seen(monkeypatch, tmp_path):
    with PeerPoolExecutor(1) as executor:
        monkeypatch.chdir(tmp_path)
        assert executor.submit(os.getcwd).result(SOON) == str(tmp_path)


def test_changes_after_the_first_task_are_not_seen_by_any_worker(monkeypatch, tmp_path):
    before = os.getcwd()
    with PeerPoolExecutor(1, max_tasks_per_child=1) as executor:
        executor.submit(abs, -1).result(SOON)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("WOOLEXEC_TEST_WORD", "late")
        assert executor.submit(os.getcwd).result(SOON) == before
        assert executor.submit(tasks_b.environment, "WOOLEXEC_TEST_WORD").result(SOON) is None


def test_caller_in_a_directory_that_is_gone_runs_tasks(run, tmp_path):
    script = """
        import os, sys
        from woolexec import PeerPoolExecutor
        os.mkdir(sys.argv[1]); os.chdir(sys.argv[1]); os.rmdir(sys.argv[1])
        with PeerPoolExecutor(1) as pool:
            print(pool.submit(abs, -1).result(20))
    """
    assert output(run(script, tmp_path / "gone")) == ["1"]


@linux
def test_workers_inherit_no_descriptor_of_the_caller(tmp_path):
    path = tmp_path / "open"
    with open(path, "w") as file, socket.socket() as listener, socket.socket() as unbound:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        for thing in (file, listener, unbound):
            os.set_inheritable(thing.fileno(), True)
        mine = {os.readlink(f"/proc/self/fd/{thing.fileno()}") for thing in (file, listener, unbound)}
        with PeerPoolExecutor(1) as executor:
            there = set(executor.submit(tasks_b.open_targets).result(SOON))
            template = set(executor.submit(tasks_b.open_targets_of_parent).result(SOON))
    assert len(mine) == 3
    assert not mine & there
    assert not mine & template


@linux
def test_workers_hold_nothing_of_each_other():
    with PeerPoolExecutor(3) as executor:
        futures = [executor.submit(tasks_b.open_targets_when_all_are_here) for _ in range(3)]
        sockets = Counter(
            target for future in futures for target in future.result(SOON) if target.startswith("socket:")
        )
    assert len(sockets) == 6  # each has one for frames and one for descriptors
    assert set(sockets.values()) == {1}


@linux
def test_later_descriptors_of_the_caller_do_not_reach_later_workers(tmp_path):
    with PeerPoolExecutor(1, max_tasks_per_child=1) as executor:
        executor.submit(abs, -1).result(SOON)
        with open(tmp_path / "open", "w") as file:
            os.set_inheritable(file.fileno(), True)
            assert file.name not in executor.submit(tasks_b.open_targets).result(SOON)


def test_workers_inherit_no_thread_and_no_locked_lock():
    locked, release = threading.Event(), threading.Event()

    def hold_logging():
        with logging._lock:
            locked.set()
            release.wait(SOON)

    thread = threading.Thread(target=hold_logging)
    thread.start()
    assert locked.wait(SOON)
    try:
        with PeerPoolExecutor(1) as executor:
            assert executor.submit(tasks_b.surroundings).result(SOON)["threads"] == 1
            assert executor.submit(tasks_b.configure_logging).result(SOON) == "configured"
    finally:
        release.set()
        thread.join()


def test_workers_inherit_no_signal_handler_and_no_mask(lone):
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    try:
        assert lone.submit(tasks_b.signals).result(SOON) == (True, set())
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2})
        signal.signal(signal.SIGUSR1, before)


def test_start_method_of_multiprocessing_is_left_alone(run):
    script = """
        import multiprocessing
        from woolexec import PeerPoolExecutor
        with PeerPoolExecutor(1) as pool: pool.submit(abs, -1).result()
        print(multiprocessing.get_start_method(allow_none=True), multiprocessing.active_children())
    """
    assert output(run(script)) == ["None []"]


# -- fork in the caller -----------------------------------------------------------------------------------------------


def in_a_forked_child(piece):
    """Return what `piece()` gave, or what it raised, in a forked child, as text."""
    receiver, sender = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            text = repr(piece())
        except BaseException as exc:
            text = f"{type(exc).__name__}: {exc}"
        os.write(sender, text.encode())
        os._exit(0)
    os.close(sender)
    try:
        return b"".join(iter(lambda: os.read(receiver, 4096), b"")).decode()
    finally:
        os.close(receiver)
        os.waitpid(pid, 0)


USES = {
    "submit": lambda pool, future: pool.submit(abs, -1),
    "map": lambda pool, future: list(pool.map(abs, [-1])),
    "result": lambda pool, future: future.result(),
    "submit of a view": lambda pool, future: pool.with_options(retries=1).submit(abs, -1),
}


@pytest.mark.parametrize("use", USES)
def test_use_of_the_executor_in_a_forked_child_raises(lone, tmp_path, use):
    future = lone.submit(tasks.hold, tmp_path)
    tasks.wait_held(tmp_path)
    told = in_a_forked_child(lambda: USES[use](lone, future))
    assert told.startswith("RuntimeError")
    assert "parent" in told
    tasks.release(tmp_path)
    assert future.result(SOON) == "held"
    assert lone.submit(abs, -1).result(SOON) == 1


@pytest.mark.parametrize("end", ["shutdown", "kill_workers", "terminate_workers", "__del__"])
def test_end_of_the_executor_in_a_forked_child_leaves_the_parents_alone(lone, tmp_path, end):
    future = lone.submit(tasks.hold, tmp_path)
    tasks.wait_held(tmp_path)
    in_a_forked_child(getattr(lone, end, lambda: None))
    tasks.release(tmp_path)
    assert future.result(SOON) == "held"


def test_forked_child_may_make_an_executor_of_its_own(lone):
    lone.submit(abs, -1).result(SOON)

    def use():
        with PeerPoolExecutor(1) as own:
            return own.submit(abs, -5).result(SOON)

    assert in_a_forked_child(use) == "5"


def test_process_of_multiprocessing_may_make_an_executor_of_its_own(lone):
    lone.submit(abs, -1).result(SOON)
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=tasks_b.use_own_executor, args=(sender,))
    process.start()
    sender.close()
    assert receiver.poll(SOON)
    assert receiver.recv() == 5
    process.join()
    receiver.close()
    assert process.exitcode == 0
    process.close()


@pytest.mark.slow
def test_fork_while_many_threads_submit_leaves_the_parent_alone(pool):
    results, stop = [], threading.Event()
    pool.submit(abs, -1).result(SOON)  # a child may use one that was not used before the fork

    def submit():
        while not stop.is_set():
            results.append(pool.submit(abs, -1).result(SOON))

    threads = [threading.Thread(target=submit) for _ in range(3)]
    for thread in threads:
        thread.start()
    told = {in_a_forked_child(lambda: pool.submit(abs, -1)).split(":")[0] for _ in range(10)}
    stop.set()
    for thread in threads:
        thread.join()
    assert told == {"RuntimeError"}
    assert set(results) == {1}
