"""The dashboard in docs/ shows exactly the existing metrics."""

import json
import re
from pathlib import Path

from woolexec.observe.metric_table import BUILD, TABLE

BOARD = json.loads((Path(__file__).parents[2] / "docs" / "grafana.json").read_text(encoding="utf-8"))
SUFFIXES = {"gauge": ("",), "counter": ("_total",), "histogram": ("_bucket",)}


def queries():
    return [target["expr"] for panel in BOARD["panels"] for target in panel["targets"]]


def test_the_dashboard_shows_each_metric_of_the_table_and_no_other():
    shown = {name for query in queries() for name in re.findall(r"\bwoolexec_\w+", query)}
    assert shown == {each.name + suffix for each in TABLE for suffix in SUFFIXES[each.kind]} | {BUILD}


def test_its_labels_are_those_of_the_table():
    labels = {each.label for each in TABLE if each.label} | {"le", "instance", "version", "python"}
    assert {
        label for query in queries() for by in re.findall(r"by \(([^)]*)\)", query) for label in by.split(", ")
    } <= labels


def test_each_panel_has_a_unit_and_a_place_of_its_own():
    assert all(panel["fieldConfig"]["defaults"]["unit"] for panel in BOARD["panels"])
    places = [tuple(panel["gridPos"].values()) for panel in BOARD["panels"]]
    assert len(set(places)) == len(places)
