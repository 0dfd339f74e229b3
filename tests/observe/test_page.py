"""The pages in a real browser: headless Chromium, which .ci/run installs; skipped if it is missing."""

import contextlib
import importlib.util
import re
import shutil
import time

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from tests.observe.synthetic import HOSTILE, STACKS, Moving, snapshot
from tests.observe.test_timeline import lines_of
from tests.observe.test_trace_file import run
from woolexec import PeerPoolExecutor
from woolexec.engine.recorder import LOST, Made, Where
from woolexec.observe.dashboard import Dashboard
from woolexec.observe.timeline import page_of

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
TABS = ["live", "timeline", "functions", "memory", "peers", "stacks"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(120),
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here"),
    # Not for the module: pytest ends with 5 if it collects no test at all.
    pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="playwright is not installed"),
    pytest.mark.leaks("the browser's driver keeps pipes and a process until the module ends"),
]


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser):
    """Open a page; at the end nothing may have been said on its console or requested from elsewhere."""
    said, pages = [], []

    def visit(url, *, width=1200, height=800, dark=False):
        scheme = "dark" if dark else "light"
        page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
        pages.append(page)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: (said.append("a dialog"), dialog.dismiss()))
        own = url.split("?")[0].rstrip("/")
        page.on("request", lambda request: request.url.startswith((own, "data:")) or said.append(request.url))
        page.goto(url, wait_until="domcontentloaded")
        return page

    yield visit
    for page in pages:
        page.close()
    assert said == []


@contextlib.contextmanager
def served(take):
    page = Dashboard(("127.0.0.1", 0), take, lambda: STACKS)
    try:
        yield page.url
    finally:
        page.close()


def text_of(page):
    return page.inner_text("body")


def figure(page, name):
    return int(page.inner_text(f"[data-figure='tasks.{name}']").replace(",", ""))


def rows_of(page, table):
    return page.eval_on_selector_all(
        f"[data-table={table}] tbody tr", "rows => rows.map(row => [...row.cells].map(cell => cell.innerText))"
    )


# -- what it shows -----------------------------------------------------------------------------------------------------


def fails():
    raise ValueError


def wait_for(path):
    while not path.exists():
        time.sleep(0.001)


def test_the_figures_are_those_of_statistics(visit, tmp_path):
    with PeerPoolExecutor(2, dashboard=True) as pool:
        list(pool.map(abs, range(5000)))
        assert pool.submit(fails).exception() is not None
        blocked = [pool.submit(wait_for, tmp_path / "go") for _ in range(7)]
        page = visit(pool.dashboard_url)
        try:
            while pool.statistics().tasks.running < 2:
                time.sleep(0.001)
            tasks = pool.statistics().tasks
            page.wait_for_function(
                "figures => Object.entries(figures).every(([name, value]) =>"
                " document.querySelector(`[data-figure='tasks.${name}']`)?.textContent === value.toLocaleString('en'))",
                arg={
                    "running": tasks.running,
                    "waiting": tasks.held + tasks.queued + tasks.sent,
                    "returned": tasks.returned,
                    "failed": tasks.failed,
                    "lost": tasks.lost,
                    "cancelled": tasks.cancelled,
                },
            )
            page.keyboard.press("3")
            page.wait_for_selector("[data-table=functions] tbody tr")
            shown = {row[0]: (row[1], row[2]) for row in rows_of(page, "functions")}
            known = {each.name: (f"{each.count:,}", f"{each.failures:,}") for each in pool.statistics().functions}
            assert shown == {name: counts for name, counts in known.items() if name in shown}
            assert {"abs", "fails"} <= shown.keys()
            page.keyboard.press("6")
            page.wait_for_selector("summary")
            while "time.sleep(0.001)" not in page.inner_text("details pre"):  # the task was only beginning
                page.click("text=Look again")
            assert "wait_for" in page.inner_text("details")
        finally:
            (tmp_path / "go").touch()
        for future in blocked:
            future.result()
    page.wait_for_selector("text=the pool has ended")


def test_a_stranger_finds_what_is_slow_stuck_large_and_refusing(visit):
    with served(lambda: snapshot(8)) as url:
        page = visit(url)
        page.wait_for_selector(".notes li")
        notes = page.inner_text(".notes")
        assert "train_model is the slowest function" in notes
        assert "Worker 4201 has run transform for 5 min" in notes
        assert "Worker 4201 uses the most memory: 2.8 GiB" in notes
        assert "Peer build-9:7700 has refused 310 calls, and can run none: no worker starts" in notes
        assert "killed by SIGSEGV" in notes
        page.click("text=see where")
        page.wait_for_selector("summary")
        assert "transform for 5 min" in page.inner_text("summary >> nth=0")
        assert "lock.acquire()" in page.inner_text("pre >> nth=0")


def test_what_is_like_everything_else_is_not_worth_a_look(visit):
    found = snapshot(8)
    for number, each in enumerate(found["workers"].values()):
        each["memory"] = (100 + number) << 20
    found["functions"]["train_model"]["run"]["count"] = 1
    with served(lambda: found) as url:
        page = visit(url)
        page.wait_for_selector(".notes li")
        notes = page.inner_text(".notes")
        assert "uses the most memory" not in notes
        assert "train_model is the slowest function: its only call took 2.40 s" in notes


def test_a_long_task_is_not_stuck_before_it_is_known_what_is_usual(visit):
    found = snapshot(8)
    for figures in found["functions"].values():
        figures["run"] |= {"count": 4}
    with served(lambda: found) as url:
        page = visit(url)
        page.wait_for_selector(".notes li")
        assert "nearly all others" not in page.inner_text(".notes")
        assert page.query_selector(".stuck") is None


def test_it_is_shown_how_far_tasks_are(visit):
    with served(lambda: snapshot(8)) as url:
        page = visit(url)
        page.wait_for_selector("[data-table=progress] tbody tr")
        ((task, _, done, what, _, worker),) = rows_of(page, "progress")
        assert (task, done, what, worker) == ("train_model", "30 of 120", "epoch 3", "4203")
        assert page.get_attribute("[data-table=progress] .bar", "style") == "width: 25%;"


def test_tables_are_sorted_by_what_is_chosen(visit):
    with served(lambda: snapshot(4)) as url:
        page = visit(f"{url}#functions")
        page.wait_for_selector("[data-table=functions] tbody tr")
        assert [row[0] for row in rows_of(page, "functions")] == ["train_model", "report", "transform", "load_rows"]
        page.click("text=calls")
        page.wait_for_selector("th[aria-sort=descending] >> text=calls")
        assert [row[0] for row in rows_of(page, "functions")] == ["load_rows", "transform", "report", "train_model"]
        page.click("text=calls")
        page.wait_for_selector("th[aria-sort=ascending] >> text=calls")
        assert [row[1] for row in rows_of(page, "functions")] == ["180", "900", "31,000", "62,000"]


def test_hostile_names_are_shown_as_they_are(visit):
    with served(Moving(4, hostile=True)) as url:
        page = visit(url)
        page.wait_for_selector(".notes li")
        for number in range(1, 7):
            page.keyboard.press(str(number))
            page.wait_for_selector(f"[data-tab={TABS[number - 1]}][aria-selected=true]")
            page.wait_for_timeout(400)
            assert page.query_selector("img") is None
        page.keyboard.press("3")
        names = {row[0] for row in rows_of(page, "functions")}
        assert {"__proto__", "constructor"} <= names
        assert any(name.startswith("</script><img") for name in names)
        assert HOSTILE not in page.title()


def test_of_a_task_that_was_only_seen_to_run_no_more_is_said(visit):
    with served(Moving(1)) as url:
        page = visit(f"{url}#timeline")
        page.wait_for_function("() => samples.lanes.length && samples.lanes[0].s.length > 1")
        page.focus("main canvas")
        page.keyboard.press("n")
        page.wait_for_selector(".facts >> text=outcome not seen")
        facts = page.inner_text(".facts")
        assert not re.search("waited|transfer|returned", facts), facts


def test_what_functions_have_taken_on_the_timeline_is_what_their_runs_show(visit):
    with served(Moving(8)) as url:
        page = visit(f"{url}#timeline")
        page.wait_for_function("() => samples.counts.length > 2 && samples.counts.every(count => count > 2)")
        totals, shown = page.evaluate("""() => {
            const shown = samples.names.map(() => 0);
            for (const { s, e, n } of samples.lanes) s.forEach((begin, at) => { shown[n[at]] += e[at] - begin; });
            return [samples.totals, shown];
        }""")
        assert totals == pytest.approx(shown)
        assert min(totals) >= 0


# -- how it is used ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_follows_the_theme_and_text_can_be_read(visit, dark):
    with served(lambda: snapshot(8)) as url:
        page = visit(url, dark=dark)
        page.wait_for_selector(".notes li")
        style = "element => [getComputedStyle(element).color, getComputedStyle(element).backgroundColor]"
        ink, _ = page.eval_on_selector("body", style)
        _, ground = page.eval_on_selector(".card", style)
        light, other = (sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in (ink, ground))
        assert abs(light - other) > 500
        assert (light > other) is dark


@pytest.mark.parametrize("number", range(6), ids=TABS)
def test_a_narrow_screen_has_no_sideways_scroll(visit, number):
    with served(Moving(30, hostile=True)) as url:
        page = visit(f"{url}#{TABS[number]}", width=360, height=700)
        page.wait_for_selector(f"[data-tab={TABS[number]}][aria-selected=true]")
        page.wait_for_timeout(600)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert page.evaluate("document.querySelector('nav').scrollWidth") <= 360  # no tab is hidden


def test_tabs_are_reached_with_the_keyboard(visit):
    with served(lambda: snapshot(4)) as url:
        page = visit(url)
        page.wait_for_selector(".notes li")
        page.keyboard.press("Tab")
        for name in [*TABS[1:], TABS[0]]:
            page.keyboard.press("ArrowRight")
            assert page.get_attribute(":focus", "data-tab") == name
            assert page.get_attribute("nav [aria-selected=true]", "data-tab") == name
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.tagName") == "BUTTON"
        assert page.evaluate("document.activeElement.closest('main') !== null")
        page.click(".grid button >> nth=1")
        page.wait_for_selector("text=Worker 4201 on build-8: running transform for 5 min")


def test_two_hundred_workers_and_a_hundred_thousand_tasks_keep_it_fluid(visit):
    frames = """() => new Promise(done => {
        const waits = [];
        let before = performance.now();
        const next = now => {
            waits.push(now - before);
            before = now;
            waits.length < 90 ? requestAnimationFrame(next) : done(waits);
        };
        requestAnimationFrame(next);
    })"""
    with served(Moving(200)) as url:
        page = visit(url)
        page.wait_for_selector(".grid button >> nth=199")
        for number in range(1, 6):
            page.keyboard.press(str(number))
            waits = sorted(page.evaluate(frames)[1:])
            assert waits[len(waits) // 2] < 60, (TABS[number - 1], waits[-5:])
        spent = page.evaluate("""() => {
            const began = performance.now();
            for (let turn = 0; turn < 10; turn++) { sample(); refresh(); }
            return (performance.now() - began) / 10;
        }""")
        assert spent < 100


def test_a_slow_or_lost_connection_is_said_and_made_again(visit):
    with served(lambda: snapshot(2)) as url:
        page = visit(url)
        page.wait_for_selector("text=live")
    page.wait_for_selector("#state.off")


# -- the page of a trace -----------------------------------------------------------------------------------------------


@pytest.fixture
def trace(tmp_path):
    made, user = Made(), run("uses", start=2.0)
    made.where, made.ended = Where("", 7, 0), 1.7
    user.inputs = (made,)
    lost = run(HOSTILE, where=Where("peer:1", 8, 0))
    lost.outcome = LOST
    many = [run("short", where=Where("", 100 + number % 40, 0), start=1 + number / 1e3) for number in range(4000)]
    path = tmp_path / "page.html"
    path.write_text(page_of(lines_of(run("makes"), user, lost, *many), f"{HOSTILE}.json"), encoding="utf-8")
    return path.as_uri()


def test_the_keyboard_chooses_runs_zooms_and_moves(visit, trace):
    page = visit(trace)
    page.wait_for_selector("#legend button")
    assert "4,003 runs" in page.inner_text("#sum")
    page.keyboard.press("n")
    page.wait_for_selector("#facts >> text=makes")
    page.keyboard.press("n")
    page.wait_for_selector("#facts >> text=uses")
    assert "waited 100.0 ms" in page.inner_text("#facts")
    page.keyboard.press("p")
    page.wait_for_selector("#facts >> text=makes")
    page.keyboard.press("0")
    span = page.evaluate("timeline.span")
    page.keyboard.press("+")
    assert page.evaluate("timeline.span") < span
    begin = page.evaluate("timeline.begin")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("timeline.begin") > begin
    page.keyboard.press("0")
    assert page.evaluate("timeline.span") == pytest.approx(span)
    page.keyboard.press("Escape")
    page.wait_for_selector("#facts >> text=Click a run")


def test_the_wheel_zooms_a_click_chooses_and_the_legend_shows_one_function(visit, trace):
    page = visit(trace)
    page.wait_for_selector("#legend button")
    box = page.query_selector("canvas").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 60)
    span = page.evaluate("timeline.span")
    page.mouse.wheel(0, -300)
    page.wait_for_function("span => timeline.span < span", arg=span)
    page.keyboard.press("0")
    page.wait_for_timeout(100)
    x = page.evaluate("timeline.left + (lanes[0].s[0] + 1000 - timeline.begin) / timeline.span * timeline.width")
    y = page.evaluate("timeline.rows.find(row => row.index === 0).y + 10")
    page.mouse.click(box["x"] + x, box["y"] + y)
    page.wait_for_selector("#facts >> text=makes")
    page.click("#legend button >> nth=0")
    assert page.evaluate("read.names[timeline.only]") == "short"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_timeline_fits_a_narrow_screen(visit, trace, dark):
    page = visit(trace, width=360, height=640, dark=dark)
    page.wait_for_selector("#legend button")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.query_selector("img") is None
