import sys
import threading
from types import ModuleType

import pytest

from woolexec.engine.main_names import pickled
from woolexec.wire.unpickling import loads


@pytest.fixture
def main(monkeypatch):
    module = ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", module)
    return module


def test_functions_and_classes_are_given(main):
    exec("def job(number):\n    return number + 1\n\nclass Thing:\n    number = 3\n", main.__dict__)
    assert loads(pickled("job"))(1) == 2
    assert loads(pickled("Thing")).number == 3


def test_nothing_else_is_given(main):
    main.secret, main.lock, main.module = "a secret", threading.Lock(), sys
    assert [pickled(name) for name in ("secret", "lock", "module", "nothing", "__name__")] == [b""] * 5


def test_what_cannot_be_pickled_is_not_there(main, monkeypatch):
    exec("def job():\n    pass\n", main.__dict__)
    monkeypatch.setattr("woolexec.wire.pickling.dumps_inline", lambda *_, **__: 1 / 0)
    assert pickled("job") == b""


def test_program_without_a_main_has_no_names(monkeypatch):
    monkeypatch.delitem(sys.modules, "__main__")
    assert pickled("job") == b""
