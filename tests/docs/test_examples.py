"""Each program of examples/ runs unchanged; programs that need a missing package are skipped."""

import ast
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from woolexec import Credentials
from woolexec.testing import Peer

EXAMPLES = Path(__file__).parents[2] / "examples"


def needs(*packages):
    missing = [each for each in packages if importlib.util.find_spec(each) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


def run(*command, cwd, code=0, **variables):
    """Run Python with these arguments; return what it printed."""
    ran = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        env=os.environ | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert ran.returncode == code, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def example(name, *arguments, cwd, **how):
    return run("-W", "error", EXAMPLES / name, *arguments, cwd=cwd, **how)


@pytest.fixture
def credentials():
    return Credentials.of_this_user()


@pytest.mark.slow
@needs("pandas")
def test_csv_files_are_added_up(tmp_path):
    lines = example("csv_files.py", cwd=tmp_path).splitlines()
    assert [line.split()[0] for line in lines] == ["quantity", "product", "plums", "pears", "apples"]
    for name, price in [("a", 2), ("b", 3)]:
        (tmp_path / f"{name}.csv").write_text(f"product,quantity,price\nfigs,10,{price}\n")
    assert example("csv_files.py", tmp_path, cwd=tmp_path).split()[-3:] == ["figs", "20", "50"]


def test_parameter_sweep_shows_its_progress_and_writes_every_combination(tmp_path):
    assert "36 of 36 runs done" in example("parameter_sweep.py", "results.csv", cwd=tmp_path)
    header, *rows = (tmp_path / "results.csv").read_text().splitlines()
    assert header == "rate,momentum,seed,loss"
    assert len(rows) == 36


@needs("fastapi", "httpx")
def test_fastapi_application_answers(tmp_path):
    client = tmp_path / "client.py"
    client.write_text(
        "from fastapi.testclient import TestClient\n"
        "from fastapi_app import app\n"
        "with TestClient(app) as client:\n"
        "    print(client.get('/primes?below=100').json())\n"
        "    print(client.get('/primes/stream?below=10').text.split())\n"
    )
    said = run(client, cwd=tmp_path, PYTHONPATH=str(EXAMPLES), PYTHONWARNINGS="ignore")
    assert said == "{'below': 100, 'primes': 25}\n['2', '3', '5', '7']\n"


def test_cells_of_the_notebook_run_one_after_the_other(tmp_path):
    notebook = json.loads((EXAMPLES / "notebook.ipynb").read_text())
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell for cell in cells if cell["outputs"] or cell["execution_count"]] == []
    (tmp_path / "cells.json").write_text(json.dumps(["".join(cell["source"]) for cell in cells]))
    # As a kernel does: each cell in `__main__`, within one event loop.
    kernel = tmp_path / "kernel.py"
    kernel.write_text(
        "import asyncio, json\n"
        "async def main():\n"
        "    for cell in json.load(open('cells.json')):\n"
        f"        waits = eval(compile(cell, '<cell>', 'exec', {ast.PyCF_ALLOW_TOP_LEVEL_AWAIT}), globals())\n"
        "        if waits is not None:\n"
        "            await waits\n"
        "asyncio.run(main())\n"
        "print(max(steps), max(peaks))\n"
    )
    said = run(kernel, cwd=tmp_path)
    assert said.splitlines() == ["250 done", "500 done", "750 done", "1000 done", "237 8153620"]


def test_two_hosts_share_the_tasks(tmp_path, credentials):
    with Peer(1, credentials=credentials) as peer:
        said = example("two_hosts.py", peer.address, cwd=tmp_path)
    assert sum(int(count) for count in re.findall(r"^ *(\d+) tasks on", said, re.MULTILINE)) == 100
    assert said.endswith(f"sum: {sum(n * n for n in range(100))}\n")


def test_gpu_farm_uses_each_card(tmp_path, credentials):
    with (
        Peer(2, credentials=credentials, resources={"gpu": 1}) as first,
        Peer(2, credentials=credentials, resources={"gpu": 1}) as second,
    ):
        said = example("gpu_farm.py", first.address, second.address, cwd=tmp_path)
    assert said.startswith("40 documents, 860 words\n")


@pytest.mark.slow
def test_gpu_farm_without_a_card_says_so(tmp_path, credentials):
    with Peer(1, credentials=credentials) as peer:
        assert "gpu" in example("gpu_farm.py", peer.address, cwd=tmp_path, code=1)


def test_crawler_finds_every_page(tmp_path):
    *pages, count = example("crawler.py", cwd=tmp_path).splitlines()
    assert count == "30 pages"
    assert len(set(pages)) == 30


@needs("numpy")
def test_video_frames_come_in_order(tmp_path):
    said = example("video_frames.py", cwd=tmp_path).splitlines()
    assert said == [f"frame {n}: column {10 * n}" for n in range(48)]


@pytest.mark.parametrize("how", [[], ["-n", "2"]], ids=["alone", "xdist"])
def test_fixtures_for_pytest_work_and_leave_nothing_behind(tmp_path, how):
    shutil.copy(EXAMPLES / "test_with_pool.py", tmp_path)
    said = run("-m", "pytest", "-q", *how, "-p", "no:cacheprovider", "-W", "error", "test_with_pool.py", cwd=tmp_path)
    assert "4 passed" in said
    assert [path.name for path in tmp_path.iterdir() if path.name != "__pycache__"] == ["test_with_pool.py"]


@pytest.fixture
def one_node(tmp_path):
    """What the batch script finds on its path, on a cluster of one node that is reached by no other host."""
    room = tmp_path / "bin"
    room.mkdir()
    for name, command in {
        "python": f'exec "{sys.executable}" -W error "$@"',
        "woolexec": f'exec "{sys.executable}" -m woolexec "$@"',
        "srun": 'exec "${@/0.0.0.0/127.0.0.1}"',
    }.items():
        (room / name).write_text(f"#!/bin/bash\n{command}\n")
        (room / name).chmod(0o700)
    node = {"SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "2", "SLURM_JOB_NUM_NODES": "1"}
    return node | {"PATH": f"{room}:{os.environ['PATH']}"}


@pytest.mark.skipif(not Path("/bin/bash").exists(), reason="needs bash")
@needs("cryptography")
@pytest.mark.slow
def test_slurm_job_starts_peers_uses_them_and_leaves_nothing(tmp_path, one_node):
    for name in ("job.sh", "main.py"):
        shutil.copy(EXAMPLES / "slurm" / name, tmp_path)
    ran = subprocess.run(
        ["/bin/bash", "job.sh"],
        cwd=tmp_path,
        env=os.environ | one_node,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    tasks, pi = re.search(r"\{'[^']+': (\d+)\}\npi is about (\S+)$", ran.stdout).groups()
    assert int(tasks) == 200
    assert float(pi) == pytest.approx(3.14, abs=0.01)  # each task has a fixed seed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin", "job.sh", "main.py"]


def test_each_example_has_a_row_in_the_list_and_each_row_an_example():
    listed = re.findall(r"^\| \[([^]]+)\]\(\1\) \|", (EXAMPLES / "README.md").read_text(), re.MULTILINE)
    here = [
        path.relative_to(EXAMPLES) for path in EXAMPLES.rglob("*") if path.suffix in {".py", ".ipynb", ".sh", ".yaml"}
    ]
    assert sorted(listed) == sorted(str(path) for path in here if path.name != "main.py")
    assert len(listed) == 11
