"""File and line of code in programs, notebooks and interactive sessions, as workers report them."""

import json
import os
import subprocess
import sys

import pytest

from .tasks import SOON

SCRIPT = '''
import asyncio, faulthandler, inspect, json, linecache, logging, sys, tempfile, traceback, types, warnings
from woolexec import PeerPoolExecutor

def divide(n):
    rest = n - n
    return n / rest  # the line at fault

def nested(n):
    def inner(rest):
        return sorted([1, 2], key=lambda each: each / rest)  # in a lambda
    return inner(0)

class Shop:
    def sell(self):
        raise LookupError("sold out")  # in a method

def stream(n):
    yield n
    yield n / 0  # in a stream

async def coroutine(n):
    await asyncio.sleep(0)
    return n / 0  # in a coroutine

def log():
    records = []
    logger = logging.getLogger("a.worker")
    logger.addFilter(records.append)
    logger.warning("hello")
    return records[0].pathname, records[0].lineno, records[0].funcName

def warn():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.warn("careful")  # in a warning
    return caught[0].filename, warnings.formatwarning(
        caught[0].message, UserWarning, caught[0].filename, caught[0].lineno
    )

def source():
    return inspect.getsource(divide), inspect.getsourcefile(divide)

def dump():
    with tempfile.TemporaryFile() as file:
        faulthandler.dump_traceback(file)
        file.seek(0)
        return file.read().decode()

def text(fn, *args):
    try:
        result = pool.submit(fn, *args).result()
        [*result]
    except (ZeroDivisionError, LookupError) as exc:
        return "".join(traceback.format_exception(exc)).split("direct cause")[0]

CELL = """def in_cell(n):
    return n / 0  # in a cell
"""
for name in ("<ipython-input-1-0123>", "/tmp/ipykernel_1/0123.py"):
    linecache.cache[name] = (len(CELL), None, CELL.splitlines(keepends=True), name)

if __name__ == "__main__":
    with PeerPoolExecutor(1) as pool:
        seen = {fn.__qualname__: text(fn, 1) for fn in (divide, nested, stream, coroutine)}
        seen["method"] = text(Shop().sell)
        for name in ("<ipython-input-1-0123>", "/tmp/ipykernel_1/0123.py"):
            exec(compile(CELL, name, "exec"), globals())
            seen[name] = text(in_cell, 1)
        for fn in (log, warn, source, dump):
            seen[fn.__name__] = pool.submit(fn).result()
    print(json.dumps(seen))
'''


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """What one script saw of its worker; its file."""
    file = tmp_path_factory.mktemp("script") / "job.py"
    file.write_text(SCRIPT)
    return json.loads(interpreter(file)[0]) | {"file": str(file)}


def interpreter(*args, stdin="", check=True):
    done = subprocess.run(
        [sys.executable, *args],
        input=stdin,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=SOON,
        check=check,
    )
    return done.stdout, done.stderr


def line_of(text):
    return SCRIPT.split("\n").index(next(line for line in SCRIPT.split("\n") if text in line)) + 1


@pytest.mark.parametrize(
    ("kind", "function", "text"),
    [
        ("divide", "divide", "    return n / rest  # the line at fault"),
        ("nested", "inner", "    return sorted([1, 2], key=lambda each: each / rest)  # in a lambda"),
        ("stream", "stream", "    yield n / 0  # in a stream"),
        ("coroutine", "coroutine", "    return n / 0  # in a coroutine"),
        ("method", "sell", '    raise LookupError("sold out")  # in a method'),
    ],
)
def test_traceback_of_a_script_names_file_and_line_and_shows_the_source(seen, kind, function, text):
    assert f'File "{seen["file"]}", line {line_of(text)}, in {function}\n{text}' in seen[kind]
    assert "dynamic-code" not in seen[kind]


@pytest.mark.parametrize("name", ["<ipython-input-1-0123>", "/tmp/ipykernel_1/0123.py"])
def test_traceback_of_a_cell_shows_the_source(seen, name):
    assert f'File "{name}", line 2, in in_cell\n    return n / 0  # in a cell' in seen[name]


def test_log_record_names_file_and_line(seen):
    assert seen["log"] == [seen["file"], line_of('logger.warning("hello")'), "log"]


def test_warning_names_file_and_line_and_shows_the_source(seen):
    filename, text = seen["warn"]
    assert filename == seen["file"]
    assert f'{filename}:{line_of("in a warning")}: UserWarning: careful\n  warnings.warn("careful")' in text


def test_inspect_finds_the_source(seen):
    text, filename = seen["source"]
    assert text == SCRIPT[SCRIPT.index("def divide") : SCRIPT.index("\ndef nested")]
    assert filename == seen["file"]


def test_fault_handler_names_file_and_line(seen):
    assert f'File "{seen["file"]}", line {line_of("faulthandler.dump_traceback(file)")} in dump' in seen["dump"]


SESSION = """
import traceback
from woolexec import PeerPoolExecutor
pool = PeerPoolExecutor(1)
def divide(n):
    return n / 0  # typed

print("".join(traceback.format_exception(pool.submit(divide, 1).exception())))
pool.shutdown()
divide(1)
"""


@pytest.mark.parametrize("way", ["typed", "on the command line"])
def test_traceback_of_what_has_no_file_is_that_of_the_interpreter(way):
    args, stdin = (["-i", "-q", "-"], SESSION) if way == "typed" else (["-c", SESSION], "")
    there, here = interpreter(*args, stdin=stdin, check=False)

    def frame(text):
        lines = text[text.index('  File "<', text.rindex('  File "<', 0, text.index(" in divide\n"))) :].split("\n")
        return lines[: lines.index("ZeroDivisionError: division by zero")]

    assert frame(there) == frame(here)
    assert "line 2, in divide" in frame(there)[0] or way != "typed"
