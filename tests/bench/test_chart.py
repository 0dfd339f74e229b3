"""The chart has the figures of the run, and only those."""

import re
from xml.etree import ElementTree as ET

import pytest

from tests.bench.chart import BARS, LOWEST, across, chart
from tests.bench.goals import TIMES
from tests.bench.workloads import WORKLOADS


def row(workload="submit", figure="rate", *, ours=80.0, stdlib=10.0, better="higher", bystanders=0.0):
    ratio = ours / stdlib if stdlib else None
    return {
        "workload": workload,
        "figure": figure,
        "unit": "tasks/s",
        "better": better,
        "ours": ours,
        "stdlib": stdlib,
        "ratio": ratio,
        "bystanders": bystanders,
    }


def run(*rows):
    cpu = {"model": "AMD <EPYC>", "usable": 2}
    return {"date": "2026-11-29T08:00:00+00:00", "python": "CPython 3.11.7", "cpu": cpu, "rows": list(rows)}


def texts(svg):
    return [each.text for each in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def bars(svg):
    return [float(width) for width in re.findall(r'class="bar" .*?width="([\d.]+)"', svg)]


def test_bars_name_figures_of_the_benchmark():
    assert BARS.keys() <= {(workload.name, figure.name) for workload in WORKLOADS for figure in workload.figures}


def test_row_is_drawn_with_its_ratio_and_both_figures():
    drawn = texts(chart(run(row())))
    assert [each for each in drawn if each in {BARS["submit", "rate"], f"8.00{TIMES}", "80.0 vs 10.0 tasks/s"}] == [
        BARS["submit", "rate"],
        f"8.00{TIMES}",
        "80.0 vs 10.0 tasks/s",
    ]
    assert f"Measured on 2026-11-29 with CPython 3.11.7 on AMD <EPYC> {TIMES} 2.  Logarithmic axis." in drawn


def test_half_the_time_is_drawn_like_twice_the_rate():
    svg = chart(run(row(ours=20.0), row("round-trip", "p50", ours=5.0, better="lower")))
    assert texts(svg).count(f"2.00{TIMES}") == 2
    twice, half = bars(svg)
    assert twice == half


def test_ratio_below_one_is_drawn_on_the_other_side():
    svg = chart(run(row(ours=9.0)))
    (begin,) = re.findall(r'class="bar" x="([\d.]+)"', svg)
    (one,) = re.findall(r'class="one" d="M([\d.]+)', svg)
    assert float(begin) < float(one) == pytest.approx(across(1, 10), abs=0.1)
    assert across(LOWEST / 2, 10) == across(LOWEST, 10)


def test_disturbed_row_is_marked_and_the_mark_is_explained():
    quiet, disturbed = texts(chart(run(row()))), texts(chart(run(row(bystanders=0.5))))
    assert f"8.00{TIMES}*" in disturbed
    assert [each for each in disturbed if each.startswith("* ")] != []
    assert [each for each in quiet if "*" in each] == []


def test_row_without_a_ratio_is_left_out():
    assert bars(chart(run(row(stdlib=None)))) == bars(chart(run())) == []
