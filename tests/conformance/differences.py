"""
The table of CPython's tests that do not apply to PeerPoolExecutor, each with its reason.

The marks of `test_stdlib` and `test_stdlib_pool`, and the tables in docs/conformance.md, are made from it;
`python -m tests.conformance.differences` writes the page.  A row that names a test that does not exist, or one that
passes, fails the run.
"""

import enum
import sys
from dataclasses import dataclass
from pathlib import Path

VERSIONS = ((3, 11), (3, 12), (3, 13), (3, 14), (3, 15))
PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"
BEGIN, END = "<!-- made by tests/conformance/differences.py: begin -->\n", "<!-- end -->\n"
BEGIN_POOL = BEGIN.replace("begin", "pool, begin")


class Why(enum.Enum):
    """The reasons that a row can have."""

    PRIVATE = "reads a private attribute of the stdlib's pool"
    BREAKS = "asserts that one failure breaks the whole pool"
    SLOW = "long: runs with `--slow` only"
    OTHER = "expects another exception, or none"


@dataclass(frozen=True, slots=True)
class Difference:
    """One test of the stdlib that does not apply, and our test instead."""

    test: str
    why: Why
    reason: str
    # Our test for the same purpose, as "module::test".
    instead: str
    since: tuple[int, int] = VERSIONS[0]
    until: tuple[int, int] | None = None
    # Added in a bugfix release, so earlier releases lack it.
    backported: bool = False
    # Some of its subtests pass, or its failing subtests do not count as failures of the test.
    partly: bool = False

    def applies(self, version: tuple[int, int] = sys.version_info[:2]) -> bool:
        return self.since <= version and (self.until is None or version <= self.until)

    def pythons(self) -> str:
        first = ".".join(map(str, self.since))
        if self.until is None:
            return f"{first} and later"
        last = ".".join(map(str, self.until))
        return first if first == last else f"{first} to {last}"


P, D, S = "ProcessPoolExecutorTest", "ExecutorDeadlockTest", "ProcessPoolShutdownTest"

DIFFERENCES: tuple[Difference, ...] = (
    Difference(
        f"{P}.test_killed_child",
        Why.BREAKS,
        "Expects that a killed worker breaks the pool; here only its call fails. The test kills one of `_processes`.",
        "test_pool::test_killed_worker_costs_its_own_call_only",
    ),
    Difference(
        f"{P}.test_saturation",
        Why.PRIVATE,
        "Counts `_processes`.",
        "test_pool::test_as_many_calls_run_at_once_as_there_are_workers",
    ),
    Difference(
        f"{P}.test_max_tasks_per_child_defaults_to_spawn_context",
        Why.PRIVATE,
        "Reads `_mp_context`; workers are made without a multiprocessing context.",
        "test_pool::test_max_tasks_per_child_needs_no_context",
    ),
    Difference(
        f"{P}.test_traceback",
        Why.PRIVATE,
        "Asserts that the cause is a private `_RemoteTraceback`; ours is a `RemoteTraceback` with the same `tb`.",
        "test_pool::test_remote_traceback_is_the_cause_and_is_printed",
    ),
    Difference(
        f"{P}.test_python_finalization_error",
        Why.PRIVATE,
        "Makes the stdlib pool's second thread, its queue feeder, fail to start; here there is no such thread.",
        "test_scripts::test_submit_after_interpreter_shutdown_raises",
        since=(3, 12),
        backported=True,
    ),
    Difference(
        f"{P}.test_broken_process_pool_traceback",
        Why.BREAKS,
        "Expects that a killed worker breaks the pool; here only its call fails. The test kills one of `_processes`.",
        "test_pool::test_lost_calls_have_an_error_each",
        since=(3, 14),
    ),
    Difference(
        f"{P}.test_traceback_when_child_process_terminates_abruptly",
        Why.PRIVATE,
        "Asserts that the cause is a private `_RemoteTraceback`; here the message names process and exit code.",
        "test_pool::test_error_of_a_lost_call_names_the_process_and_its_exit_code",
        since=(3, 15),
    ),
    Difference(
        f"{P}.test_shutdown_no_wait_max_tasks_gh119592",
        Why.PRIVATE,
        "Joins `_executor_manager_thread`; and an abandoned executor runs what was submitted, instead of failing it.",
        "test_pool::test_workers_are_replaced_after_shutdown_without_wait",
        since=(3, 13),
        backported=True,
        partly=True,
    ),
    Difference(
        f"{P}.test_gc_during_max_tasks_worker_exit_gh152967",
        Why.PRIVATE,
        "Joins `_executor_manager_thread`; and an abandoned executor runs what was submitted, instead of failing it.",
        "test_pool::test_workers_of_an_abandoned_executor_are_replaced",
        since=(3, 13),
        backported=True,
    ),
    Difference(
        f"{P}.test_force_shutdown_during_max_tasks_worker_exit",
        Why.PRIVATE,
        "Joins `_executor_manager_thread` and sets `_force_shutting_down`.",
        "test_later_pythons::test_stop_replaces_no_worker",
        since=(3, 14),
    ),
    Difference(
        f"{P}.test_failed_worker_replacement_breaks_pool",
        Why.PRIVATE,
        "Joins `_executor_manager_thread` and replaces a private function that starts a worker.",
        "test_pool::test_pool_whose_workers_cannot_start_fails_its_calls",
        since=(3, 13),
        backported=True,
    ),
    Difference(
        f"{P}.test_force_shutdown_workers",
        Why.PRIVATE,
        "Replaces `terminate` and `kill` of a value of `_processes`, which the executor does not call.",
        "test_later_pythons::test_stop_ends_running_calls_and_workers_at_once",
        since=(3, 14),
        partly=True,
    ),
    Difference(
        f"{P}.test_force_shutdown_workers_invalid_op",
        Why.PRIVATE,
        "Calls `_force_shutdown`.",
        "test_later_pythons::test_stop_ends_running_calls_and_workers_at_once",
        since=(3, 14),
    ),
    Difference(
        f"{P}.test_terminate_workers",
        Why.PRIVATE,
        "Replaces `_force_shutdown`.",
        "test_later_pythons::test_stop_ends_running_calls_and_workers_at_once",
        since=(3, 14),
    ),
    Difference(
        f"{P}.test_kill_workers",
        Why.PRIVATE,
        "Replaces `_force_shutdown`.",
        "test_later_pythons::test_stop_ends_running_calls_and_workers_at_once",
        since=(3, 14),
    ),
    Difference(
        f"{S}.test_processes_terminate",
        Why.PRIVATE,
        "Counts and joins `_processes`.",
        "test_pool::test_shutdown_ends_every_worker",
    ),
    Difference(
        f"{S}.test_del_shutdown",
        Why.PRIVATE,
        "Joins `_processes`, `_executor_manager_thread` and `_call_queue`.",
        "test_pool::test_abandoned_executor_finishes_its_calls_and_ends",
    ),
    Difference(
        f"{S}.test_shutdown_no_wait",
        Why.PRIVATE,
        "Joins `_processes`, `_executor_manager_thread` and `_call_queue`.",
        "test_pool::test_shutdown_without_wait_finishes_the_calls",
    ),
    Difference(
        f"{D}.test_error_at_task_unpickle",
        Why.BREAKS,
        "If unpickling an argument raises in a worker, here only its call fails, with that exception.",
        "test_pool::test_argument_that_fails_to_unpickle_costs_its_own_call_only",
    ),
    Difference(
        f"{D}.test_exit_at_task_unpickle",
        Why.BREAKS,
        "If unpickling an argument exits in a worker, here only its call fails, with `SystemExit`.",
        "test_pool::test_argument_that_exits_at_unpickling_costs_its_own_call_only",
    ),
    Difference(
        f"{D}.test_error_during_result_unpickle_in_result_handler",
        Why.BREAKS,
        "If unpickling a result raises, here only its call fails, with that exception.",
        "test_pool::test_result_that_fails_to_unpickle_costs_its_own_call_only",
    ),
    Difference(
        f"{D}.test_exit_during_result_unpickle_in_result_handler",
        Why.BREAKS,
        "If unpickling a result exits, here only its call fails, with `SystemExit`.",
        "test_pool::test_result_that_exits_at_unpickling_costs_its_own_call_only",
    ),
    Difference(
        "FailingInitializerMixin.test_initializer",
        Why.PRIVATE,
        "Waits for `_broken` to be set.",
        "test_pool::test_initializer_that_raises_breaks_the_pool_in_the_end",
    ),
    Difference(
        f"{P}.test_map_timeout",
        Why.SLOW,
        "Sleeps for 6 s.",
        "test_pool::test_map_raises_timeout_error_after_the_results_in_time",
    ),
    Difference(
        "WaitTests.test_timeout",
        Why.SLOW,
        "Sleeps for 6 s; later Pythons for 0.5 s.",
        "test_pool::test_wait_returns_what_is_done_at_its_timeout",
        until=(3, 11),
    ),
)

POOL_DIFFERENCES: tuple[Difference, ...] = (
    Difference(
        "TestPool.test_imap_handle_iterable_exception",
        Why.OTHER,
        "Expects that the last chunk is lost if the iterable raises in it; here its items run and give results.",
        "test_pool_differences::test_items_before_an_error_of_the_iterable_are_not_lost",
    ),
    Difference(
        "TestPool.test_make_pool",
        Why.PRIVATE,
        "Counts `_pool`; workers are started when they are needed.",
        "test_pool_differences::test_pool_of_no_workers_is_refused",
    ),
    Difference(
        "TestPool.test_traceback",
        Why.OTHER,
        "Asserts that the cause is a `multiprocessing.pool.RemoteTraceback`; it is ours, with the same `tb`.",
        "test_pool_differences::test_cause_of_an_exception_is_its_traceback_in_the_worker",
    ),
    Difference(
        "TestPool.test_resource_warning",
        Why.PRIVATE,
        "Sets `_state`, and expects a warning for a pool that was not closed; ours owns nothing that must be closed.",
        "test_pool_differences::test_pool_that_is_dropped_leaves_its_executor_open",
    ),
    Difference(
        "TestPoolWorkerErrors.test_unpickleable_result",
        Why.OTHER,
        "Expects a `MaybeEncodingError` for a lambda; lambdas arrive here, and other results raise the pickling error.",
        "test_pool_differences::test_result_that_cannot_be_pickled_raises_what_pickling_raised",
    ),
    Difference(
        "TestPoolWorkerLifetime.test_pool_worker_lifetime",
        Why.PRIVATE,
        "Looks at `_pool` and calls `_repopulate_pool`.",
        "test_pool_differences::test_workers_are_replaced_after_so_many_tasks",
    ),
    Difference(
        "TestPoolWorkerLifetime.test_pool_maxtasksperchild_invalid",
        Why.OTHER,
        'Expects `ValueError` for 0.5 and "12"; the executor raises `TypeError` for values that are not integers.',
        "test_pool_differences::test_number_of_tasks_of_a_worker_is_checked",
    ),
)

# Test classes that test no pool, or another kind of pool.
OTHER_CLASSES = {
    "FailingInitializerResourcesTest": "Asks multiprocessing's resource tracker what the stdlib's workers have leaked.",
}


def rows_of(differences: tuple[Difference, ...]) -> list[str]:
    lines = [
        "| test | Pythons | why | what it does | our test instead |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in differences:
        module, _, name = row.instead.partition("::")
        ours = f"`{name}` in `{module}.py`"
        lines.append(f"| `{row.test}` | {row.pythons()} | {row.why.value} | {row.reason} | {ours} |")
    return lines


def table() -> str:
    """Return the table for executors, as it is in docs/conformance.md."""
    lines = rows_of(DIFFERENCES)
    lines += ["", "| class | why it is left out |", "| --- | --- |"]
    lines += [f"| `{name}` | {reason} |" for name, reason in OTHER_CLASSES.items()]
    return "\n".join(lines) + "\n"


def page(old: str) -> str:
    """Return the page `old` with new tables."""
    for begin, made in ((BEGIN, table()), (BEGIN_POOL, "\n".join(rows_of(POOL_DIFFERENCES)) + "\n")):
        before, _, rest = old.partition(begin)
        _, _, after = rest.partition(END)
        old = f"{before}{begin}\n{made}\n{END}{after}"
    return old


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
