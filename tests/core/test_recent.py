import sys
import threading

from woolexec.core.recent import Recent


def test_oldest_entries_are_removed_beyond_the_limit():
    table = Recent(2)
    for key in "abc":
        table.add(key, key.upper())

    assert dict(table) == {"b": "B", "c": "C"}


def test_entry_that_is_added_again_keeps_its_turn_and_takes_its_new_value():
    table = Recent(2)
    for key, value in (("a", 1), ("b", 2), ("a", 3), ("c", 4)):
        table.add(key, value)

    assert dict(table) == {"b": 2, "c": 4}


def test_threads_may_add_at_the_same_time():
    table, failed = Recent(10), []

    def add(first):
        try:
            for number in range(2000):
                table.add(first + number, number)
                table.get(first)
        except BaseException as exc:
            failed.append(exc)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=add, args=(start * 10_000,)) for start in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)

    assert failed == []
    assert len(table) == 10
