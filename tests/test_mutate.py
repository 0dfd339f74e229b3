"""The choice of the places where `tests/mutate.py` plants flaws, and its records."""

from tests import mutate
from tests.mutate import Row, Verdict, chosen, places_in, seen_by

SOURCE = '''
"""A module."""

TYPE_CHECKING = False
LIMIT = 5


class Queue:
    def take(self, count: int = 1):
        if self.closed or not self.items:
            return None
        self.taken += 1
        assert count > 0
        self.wake()
        return self.items[0] if count == 1 else self.items[0] == 1
'''


def places(source=SOURCE, file="woolexec/core/queue.py"):
    return places_in(file, source)


def test_places_of_all_kinds_are_found():
    found = {(flaw.function, flaw.described) for flaw in places()}

    assert found >= {
        ("module", "constant changed: `5` → `6`"),
        ("Queue.take", "condition negated: `self.closed or not self.items` → `(self.closed and (not self.items))`"),
        ("Queue.take", "statement removed: `self.taken += 1`"),
        ("Queue.take", "statement removed: `self.wake()`"),
        ("Queue.take", "comparison flipped: `count == 1` → `count != 1`"),
        ("Queue.take", "constant changed: `1` → `2`"),
        ("Queue.take", "constant changed: `1` → `2`, no. 2"),
    }


def test_what_is_never_false_or_for_types_alone_is_no_place():
    lines = SOURCE.splitlines()

    assert {lines[flaw.line - 1] for flaw in places()}.isdisjoint({"TYPE_CHECKING = False", "        assert count > 0"})


def test_each_place_has_a_name_of_its_own():
    keys = [flaw.key for flaw in places()]

    assert len(set(keys)) == len(keys)


def test_planted_flaw_is_in_its_line_alone_and_compiles():
    before = SOURCE.splitlines()
    for flaw in places():
        after = flaw.planted(SOURCE).splitlines()

        compile("\n".join(after), "queue.py", "exec")
        changed = [number for number, pair in enumerate(zip(before, after, strict=True), 1) if pair[0] != pair[1]]
        assert changed == [flaw.line]


def test_place_that_is_gone_changes_no_other_choice():
    found = places() + places(file="woolexec/core/stack.py")
    before = chosen(found, 8, seed=1)
    for gone in before:
        after = chosen([flaw for flaw in found if flaw is not gone], 8, seed=1)

        assert set(before) - set(after) == {gone}
        assert {flaw.kind for flaw in set(after) - set(before)} == {gone.kind}


def test_lines_that_move_change_no_choice():
    moved = places(SOURCE.replace("class Queue", "\n\nclass Queue"))

    assert [flaw.key for flaw in chosen(moved, 4, seed=1)] == [flaw.key for flaw in chosen(places(), 4, seed=1)]


def test_another_seed_chooses_other_places():
    found = places()

    assert chosen(found, 4, seed=1) == chosen(found[::-1], 4, seed=1)
    assert len({tuple(chosen(found, 4, seed)) for seed in range(5)}) > 1


def test_reason_is_kept_while_no_test_fails_and_a_test_takes_its_place():
    flaw = places()[0]
    reason, test = Row("a figure that was measured", "00"), Row("`tests/a.py::test_a`", "00")

    assert seen_by(Verdict(flaw, None, 1.0), reason) == reason.seen
    assert seen_by(Verdict(flaw, None, 1.0), test) == seen_by(Verdict(flaw, None, 1.0), None) == mutate.OPEN
    assert seen_by(Verdict(flaw, "tests/a.py::test_a", 1.0), reason) == test.seen


def test_page_is_read_as_it_was_written(tmp_path, monkeypatch):
    monkeypatch.setattr(mutate, "PAGE", tmp_path / "mutations.md")
    flaws = chosen(places(), 4, seed=1)
    rows = {flaw.key: Row(f"`tests/a.py::test_{number}`", flaw.digest) for number, flaw in enumerate(flaws[1:])}

    mutate.write(flaws, rows, 1)

    assert mutate.earlier_rows() == rows
    states = [mutate.state_of(flaw, mutate.earlier_rows()) for flaw in flaws]
    assert states == ["not tried", "tried", "tried", "tried"]


def test_flaw_whose_file_has_changed_is_to_be_tried_again():
    [flaw] = chosen(places(), 1, seed=1)
    rows = {flaw.key: Row("`tests/a.py::test_a`", flaw.digest)}
    later = next(each for each in places(SOURCE + "\n") if each.key == flaw.key)

    assert mutate.state_of(flaw, rows) == "tried"
    assert mutate.state_of(later, rows) == "tried before the file changed"
