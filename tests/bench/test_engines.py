import pytest

from tests.bench import engines

FOUND = {
    "slurm": {"woolexec": [2.0, 9.0, 2.5], "submitit": [2.0, 2.1, 2.2], "dask-jobqueue": [1.7, 3.0, 3.0]},
    "mpi": {"woolexec": [1.5], "mpi4py.futures": [0.1]},
    "ray": {"woolexec": [3.0]},
}


def test_median_of_ours_stands_beside_the_others_and_is_judged_by_the_fastest():
    assert engines.table(FOUND).splitlines()[2:] == [
        "| slurm | 2.50 s | submitit 2.10 s, dask-jobqueue 3.00 s | reached |",
        "| mpi | 1.50 s | mpi4py.futures 0.10 s | missed |",
        "| ray | 3.00 s | - | - |",
    ]


@pytest.mark.parametrize("program", engines.PROGRAMS, ids=lambda each: f"{each.engine}-{each.name}")
def test_program_is_one(program, tmp_path):
    parts = {"imports": program.imports, "construct": program.construct, "result": program.result}
    compile(engines.CLOCK.format(**parts, close=program.close), "main.py", "exec")
    assert program.engine in engines.ENGINES


def test_clock_runs_from_before_the_pool_is_made_to_the_result(tmp_path):
    program = engines.Program(
        "here", "ours", (), "import time", "time.sleep(0.1) or abs", "pool(-1)", "time.sleep(0.2)"
    )
    assert program.run(tmp_path, {}) >= 0.1


def test_program_that_fails_says_why(tmp_path):
    with pytest.raises(RuntimeError, match="no luck"):
        engines.Program("here", "ours", (), "pass", "exit('no luck')", "1", "pass").run(tmp_path, {})


def test_contender_that_is_not_installed_is_named():
    program = engines.Program("here", "ours", ("no_such_module", "sys"), "", "", "", "")
    assert program.missing() == "no_such_module"
