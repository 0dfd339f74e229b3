import pytest

pytest.importorskip("prometheus_client")

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tests.full_statistics import FULL
from woolexec.observe.metric_table import TABLE, read
from woolexec.observe.prometheus import Exposition


def families(statistics):
    registry = CollectorRegistry()
    registry.register(Exposition(lambda: read(statistics), "1.2.3"))
    return {each.name: each for each in text_string_to_metric_families(generate_latest(registry).decode())}


def test_each_metric_of_the_table_is_shown_and_nothing_else():
    kinds = {name: family.type for name, family in families(FULL).items()}
    assert kinds == {each.name: each.kind for each in TABLE} | {"woolexec_build_info": "gauge"}


def test_counters_have_the_suffix_and_the_label_of_the_table():
    [sample] = [each for each in families(FULL)["woolexec_tasks_finished"].samples if each.value == 5000]
    assert (sample.name, sample.labels) == ("woolexec_tasks_finished_total", {"outcome": "returned"})


def test_a_histogram_has_all_in_its_last_bucket_and_their_sum():
    samples = families(FULL)["woolexec_task_seconds"].samples
    found = {each.labels.get("le", each.name): each.value for each in samples}
    assert found["+Inf"] == found["woolexec_task_seconds_count"] == 5006
    assert (found["0.25"], found["0.5"], found["4.0"]) == (0, 5000, 5006)
    assert found["woolexec_task_seconds_sum"] == 100


def test_describing_asks_nobody():
    def nobody():
        raise AssertionError

    names = [each.name for each in Exposition(nobody, "1.2.3").describe()]
    assert names == [*(each.name for each in TABLE), "woolexec_build_info"]
