"""How records are written."""

import json
import logging

import pytest

from woolexec.cli.log import Json, Text, set_up
from woolexec.printable import printable


def record(text, *args, exc_info=None, **about):
    made = logging.LogRecord("woolexec.peer", logging.WARNING, "server.py", 1, text, args, exc_info)
    made.about = about
    return made


def test_text_has_time_level_and_message_in_one_line():
    line = Text().format(record("client %s joined", "node7:12"))
    assert line.endswith("Z warning client node7:12 joined")


@pytest.mark.parametrize(
    "strange", ["\n2026-01-01 error forged", "\x1b[2J", "\x9b2J", "\u2028", "\u202e", "\ud800", "\0"]
)
def test_what_a_stranger_has_sent_is_printable(strange):
    line = Text().format(record("refused %s", strange))
    assert line.isprintable()
    assert line.endswith("refused " + printable(strange))
    written = Json().format(record("refused %s", strange, reason=strange))
    assert written.isascii()
    assert written.isprintable()
    assert json.loads(written)["reason"] == strange


def test_json_has_the_parts_of_an_event():
    fields = json.loads(Json().format(record("worker died", event="worker died", worker=12, exitcode=-9)))
    assert (fields["level"], fields["event"]) == ("warning", "worker died")
    assert (fields["worker"], fields["exitcode"]) == (12, -9)


def test_traceback_is_indented_and_printable():
    try:
        raise ValueError("a\x1bb\nc")
    except ValueError as exc:
        made = record("failed", exc_info=(ValueError, exc, exc.__traceback__))
    first, *rest = Text().format(made).split("\n")
    assert first.endswith("failed")
    assert all(line.startswith("    ") and line.isprintable() for line in rest)
    assert "a\x1bb" in json.loads(Json().format(made))["traceback"]


def test_what_strangers_send_does_not_fill_the_log(monkeypatch, capsys):
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    level = root.level
    try:
        set_up("text", "info")
        logging.getLogger("grpc._cython.cygrpc").error("Invalid encoding on %s", b"\xff")
        logging.getLogger("grpc._cython.cygrpc").error("ExecuteBatchError raised in core by servicer method [%s]", "/x")
        logging.getLogger("grpc._cython.cygrpc").error("something else")
    finally:
        root.setLevel(level)
        logging.captureWarnings(capture=False)
    written = capsys.readouterr().err
    assert "Invalid" not in written
    assert "something else" in written
