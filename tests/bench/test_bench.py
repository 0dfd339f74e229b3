"""The benchmark runs and reports; nothing here looks at a clock."""

import json
import re
import subprocess
import sys

import pytest

from tests.bench import __main__ as main_module
from tests.bench import bystanders, report
from tests.bench import measure as measuring
from tests.bench.contenders import CONTENDERS
from tests.bench.goals import OURS, TIMES, Figure, Goal
from tests.bench.measure import ROOT, Measured, measure
from tests.bench.workloads import WORKLOADS
from tests.bench.workloads.workload import Workload

HIGHER = Figure("rate", "a rate", "tasks/s", "higher", target=(Goal(8), Goal(1, "threads")), moonshot=(Goal(12),))
SAMPLES = {"woolexec": {"rate": [24_000]}, "stdlib": {"rate": [3_000]}, "threads": {"rate": [9_000]}}
LOWER = Figure("p50", "a time", "µs", "lower", target=(Goal(0.5),), moonshot=(Goal(0.35),))


def test_quick_run_writes_every_row_with_its_columns(tmp_path):
    target = tmp_path / "made" / "bench.json"
    command = [sys.executable, "-m", "tests.bench", "--quick", "--only", "submit", "--only", "round-trip"]
    done = subprocess.run(
        [*command, "--json", target], cwd=ROOT, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(target.read_text())
    assert {"date", "python", "cpu", "load", "revision", "rounds", "contenders", "skipped", "rows"} <= result.keys()
    assert [(row["workload"], row["figure"]) for row in result["rows"]] == [
        ("submit", "rate"),
        ("round-trip", "p50"),
        ("round-trip", "p99"),
    ]
    for row in result["rows"]:
        assert {"ours", "stdlib", "ratio", "target", "moonshot", "verdict"} <= row.keys()
        assert row["verdict"] in {"reached", "moonshot", "missed"}
        assert row["ratio"] == pytest.approx(row["ours"] / row["stdlib"])
        assert len(row["contenders"]["stdlib"]["samples"]) == result["rounds"] == 1
        assert row["title"] in done.stdout


@pytest.mark.slow
def test_quick_run_of_the_asynchronous_face_judges_every_row(tmp_path):
    target = tmp_path / "aio.json"
    command = [sys.executable, "-m", "tests.bench", "--quick", "--only", "aio*", "--json", target]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr
    rows = {(row["workload"], row["figure"]): row for row in json.loads(target.read_text())["rows"]}
    assert list(rows) == [
        ("aio-executor", "rate"),
        ("aio-run", "rate"),
        ("aio-round-trip", "p50"),
        ("aio-map", "rate"),
        ("aio-stream", "prefetch"),
        ("aio-stream", "lockstep"),
        ("aio-sleep", "took"),
        ("aio-start", "pool"),
    ]
    for row in rows.values():
        assert not row["failed"]
        assert row["verdict"] in {"reached", "moonshot", "missed"}
    assert rows["aio-executor", "rate"]["contenders"].keys() == {"woolexec", "stdlib", "threads"}
    assert rows["aio-start", "pool"]["reference"] == "woolexec-sync"
    assert rows["aio-sleep", "took"]["ratio"] is None


def test_row_of_ours_alone_is_empty_while_another_poses(tmp_path):
    options = main_module.parse(["--quick", "--ours", "stdlib", "--only", "aio-sleep", "--json", str(tmp_path / "no")])
    (row,) = main_module.run(options)["rows"]
    assert (row["ours"], row["verdict"], row["failed"]) == (None, "-", {})


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ({"woolexec": 80, "stdlib": 10, "threads": 80}, "reached"),
        ({"woolexec": 80, "stdlib": 10, "threads": 81}, "missed"),
        ({"woolexec": 79, "stdlib": 10, "threads": 1}, "missed"),
        ({"woolexec": 120, "stdlib": 10, "threads": 1}, "moonshot"),
        ({"woolexec": 120, "stdlib": 10}, "-"),
        ({"stdlib": 10, "threads": 80}, "-"),
    ],
)
def test_more_is_better_for_a_rate(values, verdict):
    assert HIGHER.verdict(values) == verdict


@pytest.mark.parametrize(("ours", "verdict"), [(51, "missed"), (50, "reached"), (35, "moonshot")])
def test_less_is_better_for_a_time(ours, verdict):
    assert LOWER.verdict({"woolexec": ours, "stdlib": 100}) == verdict


def test_what_must_never_happen_is_judged_by_its_worst_round():
    figure = Figure("waited", "shorts that waited", "tasks", "lower", target=(Goal(0, None),), worst=True)
    assert figure.value([0, 0, 3]) == 3
    assert figure.verdict({"woolexec": figure.value([0, 0, 3])}) == "missed"


def test_median_of_the_rounds_stands_in_the_row():
    measured = Measured({"workers": 2}, {"woolexec": {"p50": [1.0, 3.0, 2.0]}, "stdlib": {"p50": [9.0, 8.0, 7.0]}})
    row = report.row_of(stand_in(LOWER), LOWER, measured)
    assert (row["ours"], row["stdlib"], row["ratio"], row["verdict"]) == (2.0, 8.0, 0.25, "moonshot")


def test_figure_that_only_ours_yields_is_judged_without_a_ratio():
    figure = Figure("took", "a time", "s", "lower", target=(Goal(0.5, None),), reference=None)
    row = report.row_of(stand_in(figure), figure, Measured({"workers": 2}, {"woolexec": {"took": [0.4, 0.6, 0.5]}}))
    assert (row["ours"], row["stdlib"], row["ratio"], row["verdict"]) == (0.5, None, None, "reached")


def test_contender_that_fails_costs_only_its_own_figure():
    present = [each for each in CONTENDERS if each.name in {"stdlib", "threads"}]
    # A size that the probe does not know makes it fail at once.
    broken = stand_in(LOWER, name="round-trip", size={"workers": 1, "trips": 2, "unknown": 1})
    measured = measure(broken, present, rounds=2, retakes=0, report=lambda stage: None)
    assert measured.figures == {}
    assert measured.failed.keys() == {"stdlib", "threads"}
    assert "unknown" in measured.failed["stdlib"]


def test_names_of_workloads_and_contenders_are_unique():
    for named in (WORKLOADS, CONTENDERS):
        assert len({each.name for each in named}) == len(named)


def test_page_describes_every_workload():
    table = (ROOT / "docs/benchmarks.md").read_text(encoding="utf-8").split("| name | workload |\n")[1].split("\n\n")[0]
    described = []
    for row in table.splitlines()[1:]:
        first, *others = re.findall("`(.+?)`", row.split("|")[1])
        described += [first, *(f"{first.rsplit('-', 1)[0]}{each}" if each.startswith("-") else each for each in others)]
    assert sorted(described) == sorted(workload.name for workload in WORKLOADS)


def test_every_goal_compares_with_a_contender_of_its_workload():
    for workload in WORKLOADS:
        for figure in workload.figures:
            against = {goal.against for goal in (*figure.target, *figure.moonshot)} - {None}
            assert {*against, figure.reference or OURS} <= set(workload.contenders), workload.name


def test_markdown_replaces_only_what_stands_between_its_markers(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    assert report.put_between_markers(page, "new \\1")
    assert page.read_text() == f"before\n{report.BEGIN}\nnew \\1\n{report.END}\nafter\n"


def test_page_without_markers_is_left_alone(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("nothing here\n")
    assert not report.put_between_markers(page, "new")
    assert page.read_text() == "nothing here\n"


def test_markdown_writes_claims_table_and_chart_where_they_belong(tmp_path, monkeypatch):
    readme, page, drawn = tmp_path / "README.md", tmp_path / "page.md", tmp_path / "chart.svg"
    for each in (readme, page):
        each.write_text(f"{report.BEGIN}\n{report.END}\n")
    monkeypatch.setattr(main_module, "ROOT", tmp_path)
    monkeypatch.setattr(main_module, "PAGES", {readme: main_module.claims, page: report.markdown})
    monkeypatch.setattr(main_module, "CHART", drawn)
    target = tmp_path / "bench.json"
    options = main_module.parse(["--quick", "--only", "submit"])
    monkeypatch.setattr(main_module, "measure", lambda workload, racing, **how: Measured({}, SAMPLES))
    target.write_text(json.dumps(main_module.run(options)))
    assert main_module.main(["--markdown", "--json", str(target)]) == 0
    assert ["24,000" in each.read_text() for each in (readme, page, drawn)] == [True] * 3
    assert ["| submit 20,000 no-ops, gather |" in each.read_text() for each in (page, readme)] == [True, False]


def test_goal_reads_like_the_promise_that_it_is():
    assert HIGHER.target[0].text("higher", "tasks/s") == f"≥ 8{TIMES}"
    assert HIGHER.target[1].text("higher", "tasks/s") == f"≥ 1{TIMES} threads"
    assert Goal(95, None).text("higher", "% of ideal") == "≥ 95 % of ideal"


def test_round_is_taken_again_while_other_programs_are_busy(monkeypatch):
    shares = iter([0.9, 0.0, 0.9, 0.9, 0.9])
    monkeypatch.setattr(bystanders.Bystanders, "share", lambda self: next(shares))
    answers = iter(range(5))
    monkeypatch.setattr(measuring, "probe", lambda workload, contender, size: {"p50": next(answers)})
    present = [each for each in CONTENDERS if each.name == "stdlib"]
    measured = measure(stand_in(LOWER), present, rounds=2, retakes=2, report=lambda stage: None)
    assert measured.figures == {"stdlib": {"p50": [1, 4]}}
    assert measured.bystanders == [0.0, 0.9]


def stand_in(figure, *, name="stand-in", size=None):
    return Workload(name, lambda contender: {}, (figure,), size or {"workers": 2}, {})
