"""In a notebook: the output of tasks appears in the cell that has submitted them, and Ctrl-C interrupts a cell."""

from queue import Empty

import pytest

pytest.importorskip("ipykernel")
manager = pytest.importorskip("jupyter_client.manager")
nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")

PATIENCE = 60

DEFINITIONS = """
import asyncio, contextlib, io, os, pathlib, subprocess, sys, threading, time
import woolexec


def speak(text):
    print(text)
    print(text, "on stderr", file=sys.stderr)
    subprocess.run(["echo", text, "of a process"], check=True)
    return text


def speak_when(path, text):
    while not path.exists():
        time.sleep(0.002)
    print(text)


def count(text):
    for number in range(2):
        print(text, number)
        yield number


pool = woolexec.PeerPoolExecutor(1, prefix=None)
pool.submit(abs, 1).result()
"""


class Kernel:
    """The kernel of a notebook, and what it has written for which cell."""

    def __init__(self, folder):
        self.manager = manager.KernelManager(kernel_name="python3", transport="ipc", ip=str(folder / "kernel"))
        self.manager.start_kernel(cwd=str(folder))
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=PATIENCE)
        self.written = {}
        self.errors = {}
        self.results = {}
        self.ended = set()

    def start(self, code):
        """Run a cell; return its number, and do not wait for its end."""
        cell = self.client.execute(code)
        self.written[cell] = {"stdout": "", "stderr": ""}
        return cell

    def run(self, code):
        """Run a cell to its end; return its number."""
        cell = self.start(code)
        self.until(lambda: cell in self.ended)
        assert cell not in self.errors, self.errors[cell]
        return cell

    def until(self, condition):
        """Read what the kernel says until a condition is true."""
        while not condition():
            try:
                message = self.client.get_iopub_msg(timeout=PATIENCE)
            except Empty:
                raise AssertionError(f"the kernel says nothing more: {self.written}") from None
            cell, content = message["parent_header"].get("msg_id"), message["content"]
            if message["msg_type"] == "stream" and cell in self.written:
                self.written[cell][content["name"]] += content["text"]
            elif message["msg_type"] == "execute_result":
                self.results[cell] = content["data"]
            elif message["msg_type"] == "error":
                self.errors[cell] = content["ename"]
            elif message["msg_type"] == "status" and content["execution_state"] == "idle":
                self.ended.add(cell)

    def close(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    kernel = Kernel(tmp_path_factory.mktemp("notebook"))
    try:
        kernel.run(DEFINITIONS)
        yield kernel
        kernel.run("pool.shutdown()")
    finally:
        kernel.close()


def test_lines_are_in_the_cell_before_its_result(kernel):
    cell = kernel.run("print(pool.submit(speak, 'one').result())")
    assert kernel.written[cell] == {"stdout": "one\none of a process\none\n", "stderr": "one on stderr\n"}


@pytest.mark.parametrize(
    "code",
    [
        "task = pool.submit(speak_when, path, 'late')",
        "task = pool.submit(speak_when, pool.submit(pathlib.Path, path), 'late')",
        "task = pool.map(speak_when, [path], ['late'])",
        "async def late(path):\n    await asyncio.to_thread(speak_when, path, 'late')\ntask = pool.submit(late, path)",
    ],
)
def test_line_that_comes_while_another_cell_runs_is_in_the_cell_of_its_task(kernel, tmp_path, code):
    submitting = kernel.run(f"path = pathlib.Path({str(tmp_path / 'go')!r}); path.unlink(missing_ok=True)\n{code}")
    waiting = kernel.start("print('other'); path.touch(); pool.submit(abs, 1).result(); time.sleep(0.01)")
    kernel.until(lambda: waiting in kernel.ended and kernel.written[submitting]["stdout"])
    assert kernel.written[submitting]["stdout"] == "late\n"
    assert kernel.written[waiting]["stdout"] == "other\n"


def test_lines_of_a_stream_are_in_the_cell_that_has_made_it(kernel):
    making = kernel.run("stream = pool.submit(count, 'item').result()")
    kernel.run("items = list(stream)")
    kernel.until(lambda: kernel.written[making]["stdout"].count("\n") == 2)
    assert kernel.written[making]["stdout"] == "item 0\nitem 1\n"


def test_lines_of_an_awaited_task_are_in_its_cell(kernel):
    cell = kernel.run("print(await pool.run(speak, 'awaited'))")
    assert kernel.written[cell]["stdout"] == "awaited\nawaited of a process\nawaited\n"


def test_redirected_stream_of_the_caller_gets_the_lines(kernel):
    cell = kernel.run(
        "with contextlib.redirect_stdout(io.StringIO()) as said: pool.submit(speak, 'x').result()\n"
        "print(repr(said.getvalue()))"
    )
    assert kernel.written[cell]["stdout"] == "'x\\nx of a process\\n'\n"


def test_interrupt_ends_the_wait_of_a_cell_and_the_pool_goes_on(kernel):
    cell = kernel.start("print('waits'); threading.Event().wait(0); pool.submit(time.sleep, 1).result()")
    kernel.until(lambda: kernel.written[cell]["stdout"])
    kernel.manager.interrupt_kernel()
    kernel.until(lambda: cell in kernel.ended)
    assert kernel.errors[cell] == "KeyboardInterrupt"
    after = kernel.run("print(pool.submit(abs, -1).result())")
    assert kernel.written[after]["stdout"] == "1\n"


def test_statistics_are_a_table(kernel):
    cell = kernel.run("pool.submit(speak, 'counted').result(); pool.statistics()")
    assert "<table" in kernel.results[cell]["text/html"]
    assert "speak" in kernel.results[cell]["text/html"]


def test_pool_that_is_to_inherit_does_so(kernel):
    cell = kernel.run("quiet = woolexec.PeerPoolExecutor(1, output=None); print(quiet._engine._rounds.outcomes.said)")
    kernel.run("quiet.shutdown()")
    assert kernel.written[cell]["stdout"] == "None\n"


def test_notebook_that_is_run_as_a_whole_has_the_lines(tmp_path):
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [
        nbformat.v4.new_code_cell(
            "import woolexec\npool = woolexec.PeerPoolExecutor(1)\npool.submit(print, 'hello').result()"
        ),
        nbformat.v4.new_code_cell("pool.shutdown()\nprint('end')"),
    ]
    nbclient.NotebookClient(notebook, timeout=PATIENCE, resources={"metadata": {"path": str(tmp_path)}}).execute()
    first, second = ("".join(each.get("text", "") for each in cell.outputs) for cell in notebook.cells)
    assert first.startswith("hello\n")
    assert second == "end\n"
