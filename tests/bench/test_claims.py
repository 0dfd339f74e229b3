"""The claims of the README are filled in from a run, and say when a row was disturbed."""

import re

from tests.bench import __main__ as main_module
from tests.bench import report
from tests.bench.claims import CLAIMS, claims
from tests.bench.goals import TIMES
from tests.bench.measure import ROOT
from tests.bench.test_chart import row, run
from tests.bench.workloads import WORKLOADS

NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")


def between_markers(page):
    return (ROOT / page).read_text(encoding="utf-8").split(report.BEGIN)[1].split(report.END)[0]


def test_claims_name_figures_of_the_benchmark():
    assert CLAIMS.keys() <= {(workload.name, figure.name) for workload in WORKLOADS for figure in workload.figures}


def test_claim_has_the_figures_of_its_row():
    (line,) = (each for each in claims(run(row(ours=100_000, stdlib=10_000))).splitlines() if each.startswith("- "))
    assert f"100,000 tiny tasks a second instead of 10,000 (10{TIMES})" in line


def test_claim_of_a_disturbed_row_says_so():
    assert "disturbed" in claims(run(row(bystanders=0.5)))
    assert "disturbed" not in claims(run(row()))


def test_figures_of_the_readme_and_of_the_chart_are_those_of_the_table():
    table = set(NUMBER.findall(between_markers("docs/benchmarks.md")))
    readme = between_markers("README.md")
    claimed = [each for line in readme.splitlines() if line.startswith("- ") for each in NUMBER.findall(line)]
    assert len(claimed) == 3 * len(CLAIMS)
    assert set(claimed) <= table
    drawn = re.findall(r"([\d,.]+) vs ([\d,.]+) ", main_module.CHART.read_text(encoding="utf-8"))
    assert drawn
    assert {each for pair in drawn for each in pair} <= table
