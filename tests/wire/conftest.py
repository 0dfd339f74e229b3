import sys
import types

import pytest


@pytest.fixture
def program(monkeypatch):
    """Run source as a program whose module cannot be imported; return the module."""
    main = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)

    def run(source, **names):
        vars(main).update(names)
        exec(source, vars(main))
        return main

    return run
