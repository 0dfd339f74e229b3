import sys

import pytest

from woolexec.worker import import_path


@pytest.fixture(autouse=True)
def known(monkeypatch):
    """A worker whose caller has two entries."""
    monkeypatch.setattr(sys, "path", ["/a", "/b"])
    monkeypatch.setattr(import_path, "_path", ["/a", "/b"])


@pytest.mark.parametrize(
    ("now", "path", "then"),
    [
        (["/a", "/b"], ["/a", "/b"], ["/a", "/b"]),
        (["/a", "/b"], ["/c", "/b"], ["/c", "/b"]),
        (["/own", "/a", "/b", "/added"], ["/b"], ["/own", "/b", "/added"]),
        (["/own", "/a"], ["/own", "/a"], ["/own", "/a"]),
        (["/own"], ["/a"], ["/own", "/a"]),
    ],
)
def test_the_callers_part_of_the_path_is_replaced(now, path, then):
    sys.path[:] = now

    import_path.follow_path(path)

    assert sys.path == then


def test_path_is_changed_in_place_for_those_who_hold_it():
    held = sys.path

    import_path.follow_path(["/c"])

    assert held is sys.path
    assert held == ["/c"]


def test_entries_of_tasks_stay_through_several_changes_and_those_of_the_caller_go():
    sys.path.insert(0, "/first")
    sys.path.append("/last")

    for path in (["/c", "/d"], ["/d"], ["/e", "/a"]):
        import_path.follow_path(path)
        assert sys.path == ["/first", *path, "/last"]
