import io
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time

import pytest

from tests.marks import slow
from woolexec.cli.census import Function, Measures
from woolexec.cli.demo import Progress, Report, Timing


def report(**changes):
    values = {
        "root": "/library",
        "workers": 2,
        "measures": [
            Measures("a.py", 1000, 3, 1, 7, (Function(30, "f", "a.py", 4), Function(2, "g", "a.py", 1))),
            Measures("b.py", 10, 1, 0, 9, (Function(40, "h", "b.py", 1),)),
            Measures("c.py", 5, error="SyntaxError: no"),
        ],
        "timings": (Timing("PeerPoolExecutor", 2.0), Timing("ProcessPoolExecutor", 3.0), Timing("serially", 4.0)),
        "agree": True,
    }
    return Report(**{**values, **changes})


def test_table_shows_counts_tops_and_ratios():
    table = report().as_table()
    assert re.search(r"files +3\n", table)
    assert re.search(r"lines +1,015\n", table)
    assert re.search(r"unparsed +1 .*c\.py", table)
    assert table.index("40  h  b.py:1") < table.index("30  f  a.py:4") < table.index("2  g  a.py:1")
    assert table.index("9  b.py") < table.index("7  a.py")
    assert re.search(r"3\.00 +1\.50x  ProcessPoolExecutor", table)
    assert "The three results are equal." in table


def test_table_says_when_results_differ():
    assert "DIFFER" in report(agree=False).as_table()


def test_json_holds_the_same_figures():
    figures = json.loads(report().as_json())
    assert (figures["files"], figures["lines"], figures["functions"], figures["classes"]) == (3, 1015, 4, 1)
    assert figures["unparsed"] == ["c.py"]
    assert figures["longest_functions"][0] == {"file": "b.py", "line": 1, "name": "h", "lines": 40}
    assert figures["most_complex_files"][0] == {"file": "b.py", "complexity": 9}
    assert figures["seconds"] == {"PeerPoolExecutor": 2.0, "ProcessPoolExecutor": 3.0, "serially": 4.0}


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_on_a_terminal_is_a_bar_that_goes_away():
    stream = Terminal()
    with Progress("job", 2, stream) as progress:
        progress.EVERY = -1.0
        assert list(progress.watch("ab")) == ["a", "b"]
    assert re.findall(r"\d/2 files", stream.getvalue()) == ["0/2 files", "1/2 files", "2/2 files"]
    assert stream.getvalue().endswith("\r\x1b[K")


def test_progress_elsewhere_is_one_line():
    stream = io.StringIO()
    with Progress("job", 2, stream) as progress:
        assert list(progress.watch("ab")) == ["a", "b"]
    assert re.fullmatch(r"job +2/2 files in \d+\.\d\d s\n", stream.getvalue())


def demo(*options):
    """Run the demo in a process of its own; the standard library's pool forks it, and that of the tests has threads."""
    command = [sys.executable, "-m", "woolexec", "demo", "--workers", "2", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


@pytest.mark.slow
def test_demo_on_some_files():
    figures = json.loads(demo("--limit", "40", "--json"))
    assert figures["files"] == 40
    assert figures["agree"] is True
    assert set(figures["seconds"]) == {"PeerPoolExecutor", "ProcessPoolExecutor", "serially"}


@pytest.mark.slow
def test_demo_ends_with_the_timeline_of_its_own_run(tmp_path):
    page = tmp_path / "demo.html"
    text = demo("--limit", "20", "--timeline", str(page))
    assert re.search(
        r"how busy each worker was during the first run\n\n  workers on .*\n  worker \d+ +[ ▁▂▃▄▅▆▇█]+\n", text
    )
    assert f"open {page} in a browser" in text
    assert "WOOLEXEC_DASHBOARD=1 woolexec demo" in text
    assert '"measure"' in page.read_text()


@pytest.mark.slow
def test_demo_on_peers():
    figures = json.loads(demo("--limit", "40", "--peers", "2", "--json"))
    assert figures["agree"] is True
    assert set(figures["seconds"]) == {"2 peers", "ProcessPoolExecutor", "serially"}


@pytest.mark.linux
@pytest.mark.parametrize(
    "when",
    ["PeerPoolExecutor", *slow("ProcessPoolExecutor", "serially")],
)
def test_interrupt_from_the_keyboard_ends_the_demo_cleanly(when):
    """Type Ctrl-C on a terminal: the signal goes to every process of its foreground group."""
    terminal, theirs = pty.openpty()
    # The leader of a new session that opens a terminal gets it as its controlling one.
    become = (
        "import os, sys; os.open(os.ttyname(0), os.O_RDWR); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    )
    demo = subprocess.Popen(
        [sys.executable, "-c", become, "-m", "woolexec", "demo", "--workers", "2", "--limit", "500"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        shown = read_until(terminal, re.compile(rb"%s +\[.*\] [1-9]\d*/" % when.encode()))
        os.write(terminal, b"\x03")
        shown += read_until(terminal, None)
        assert demo.wait(10) == 128 + signal.SIGINT
    finally:
        demo.kill()
        demo.wait()
        os.close(terminal)
    assert b"interrupted" in shown
    assert b"Traceback" not in shown


def read_until(terminal, pattern, limit=50.0):
    """Read until the pattern shows, or with None until the other end closes, for `limit` seconds in all."""
    shown = b""
    deadline = time.monotonic() + limit
    while pattern is None or not pattern.search(shown):
        ready, _, _ = select.select([terminal], [], [], max(deadline - time.monotonic(), 0))
        assert ready, f"not there after {limit} s: {shown[-2000:]!r}"
        try:
            part = os.read(terminal, 65536)
        except OSError:  # how Linux says that the other end closed
            part = b""
        if not part:
            assert pattern is None, f"ended early: {shown[-2000:]!r}"
            break
        shown += part
    return shown


def test_result_can_be_piped():
    ran = subprocess.run(
        [sys.executable, "-m", "woolexec", "demo", "--limit", "5", "--json"], capture_output=True, text=True, check=True
    )
    assert json.loads(ran.stdout)["files"] == 5
    assert len(ran.stderr.splitlines()) == 3
