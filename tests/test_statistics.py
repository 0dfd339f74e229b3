import json
import os
import time
from dataclasses import replace

import pytest

from tests.full_statistics import FULL
from woolexec.statistics import Statistics, WorkerStatistics


def test_dictionary_is_json_and_makes_the_same_statistics():
    data = json.loads(json.dumps(FULL.as_dict(), allow_nan=False))
    assert Statistics.from_dict(data) == FULL


def test_what_another_version_adds_is_left_out():
    data = FULL.as_dict() | {"new": 1}
    data["functions"][0]["run"]["p99"] = 0.5
    data["workers"][0]["gpu"] = 3
    data["tasks"]["asleep"] = 3
    assert Statistics.from_dict(data) == FULL


def test_statistics_do_not_change():
    with pytest.raises(AttributeError):
        FULL.tasks.running = 5


def test_memory_and_processor_time_of_this_process_are_found():
    worker = WorkerStatistics(os.getpid(), "here", "idle")
    lost = replace(worker, state="lost", lost="why")
    until = time.process_time() + 0.05
    while time.process_time() < until:
        pass
    found = Statistics(0.0, 1, "here", workers=(worker, lost)).with_usage()
    assert found.workers[0].memory > 1 << 20
    assert found.workers[0].cpu > 0
    assert found.workers[1] == lost
