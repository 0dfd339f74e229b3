import pytest

from tests.observe.test_timeline import lines_of
from tests.observe.test_trace_file import run
from woolexec.cli import main


@pytest.fixture
def trace(tmp_path):
    path = tmp_path / "run.json"
    path.write_text("".join(lines_of(run("work"))))
    return path


def test_the_page_is_beside_the_trace(trace, capsys):
    assert main(["timeline", str(trace)]) == 0
    page = trace.with_suffix(".html")
    assert capsys.readouterr().out == f"{page}\n"
    assert '"work"' in page.read_text()


def test_the_page_is_where_it_is_wanted(trace, tmp_path):
    assert main(["timeline", str(trace), "-o", str(tmp_path / "page.html")]) == 0
    assert "<title>run.json</title>" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize("text", [None, "", "{}", "[\nno JSON\n]\n", '[\n{"ph":"X"}\n]\n', "[\n1\n]\n"])
def test_what_is_no_trace_is_said_in_one_line(tmp_path, text, capsys):
    path = tmp_path / "run.json"
    if text is not None:
        path.write_text(text)
    assert main(["timeline", str(path)]) == 1
    assert capsys.readouterr().err.startswith(f"cannot make a timeline of {path}: ")
