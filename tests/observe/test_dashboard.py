import asyncio
import contextlib
import http.client
import json
import os
import threading
from urllib.parse import urlsplit

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from tests.observe.synthetic import snapshot
from woolexec.observe.dashboard import Dashboard, Latest, Watch, pause_after
from woolexec.observe.page_client import cancel
from woolexec.observe.pool_records import records


@contextlib.contextmanager
def served(take=lambda: snapshot(3), **options):
    page = Dashboard(("127.0.0.1", 0), take, **options)
    try:
        yield page
    finally:
        page.close()


def ask(page, path=None, *, method="GET", headers=(), token=True):
    """Return status, headers and text of an answer."""
    url = urlsplit(page.url)
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=10)
    with contextlib.closing(connection):
        connection.request(method, f"{path or '/'}?{url.query if token else ''}", headers=dict(headers))
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode()


class Viewer:
    """Reads events as a browser does."""

    def __init__(self, page):
        url = urlsplit(page.url)
        self.connection = http.client.HTTPConnection(url.hostname, url.port, timeout=10)
        self.connection.request("GET", f"/events?{url.query}")
        self.answer = self.connection.getresponse()

    def next(self):
        kind = self.answer.fp.readline().decode().strip().removeprefix("event: ")
        while not kind or kind.strip("0123456789abcdef") == "":  # the sizes of chunks
            kind = self.answer.fp.readline().decode().strip().removeprefix("event: ")
        data = self.answer.fp.readline().decode().strip().removeprefix("data: ")
        self.answer.fp.readline()
        return kind, json.loads(data)

    def close(self):
        self.answer.close()
        self.connection.close()


@pytest.fixture(scope="module")
def page():
    with served() as page:
        yield page


def test_the_url_opens_the_page_under_a_strict_policy(page):
    status, headers, text = ask(page)
    assert status == 200
    assert text.startswith("<!doctype html>")
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", ["/", "/events", "/stacks", "/statistics", "/other"])
def test_nothing_is_served_without_the_token(page, path):
    assert ask(page, path, token=False)[0] == 403
    url = urlsplit(page.url)
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", f"{path}?token=x&token={'y' * 40}")
        assert connection.getresponse().status == 403


@pytest.mark.parametrize(
    "host",
    [
        *("attacker.example", "attacker.example:80", "localhost.attacker.example:80", "127.0.0.1.attacker.example:80"),
        *("", ":80", "[", "[::1", "[attacker.example]:80", "127.0.0.1@attacker.example:80", "127.0.0.256"),
    ],
)
def test_a_page_with_another_name_that_leads_here_gets_nothing(page, host):
    status, _, text = ask(page, headers=[("Host", host)])
    assert status == 400
    assert "statistics" not in text


@pytest.mark.parametrize("host", ["localhost:{}", "LOCALHOST", "127.0.0.1:1", "[::1]:99", "10.1.2.3:{}"])
def test_addresses_and_localhost_are_taken_with_any_port_as_it_may_be_forwarded(page, host):
    assert ask(page, headers=[("Host", host.format(urlsplit(page.url).port))])[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_the_page_changes_nothing(page, method):
    assert ask(page, method=method)[0] == 405


def test_tasks_are_cancelled_only_by_those_who_know_the_key_of_the_record(monkeypatch, tmp_path):
    (tmp_path / "state").mkdir(mode=0o700)
    monkeypatch.setenv("WOOLEXEC_STATE", str(tmp_path / "state"))
    ended = []
    with served(cancel=lambda task, pid: ended.append((task, pid)) or True) as page:
        (record,) = records()
        assert record.key not in page.url
        for key in ("", "Bearer ", f"Bearer {record.key}x", record.key):
            path = urlsplit(page.url)
            connection = http.client.HTTPConnection(path.hostname, path.port, timeout=10)
            with contextlib.closing(connection):
                connection.request("POST", f"/cancel?{path.query}&task=5&pid=7", headers={"Authorization": key})
                assert connection.getresponse().status == 405
        assert ask(page, "/cancel")[0] == 405  # looking changes nothing
        assert not cancel(record._replace(url=record.url.partition("?")[0]), 5, 7, 10.0)
        assert ended == []
        assert cancel(record, 5, 7, 10.0)
        assert ended == [(5, 7)]
        assert not cancel(record, -1, 7, 10.0)
    with served() as page:
        assert not cancel(records()[-1], 5, 7, 10.0)
    assert ended == [(5, 7)]


def test_stacks_that_cannot_be_seen_are_an_error(page):
    assert ask(page, "/stacks")[0] == 501
    with served(stacks=lambda: [{"function": "f"}]) as other:
        assert json.loads(ask(other, "/stacks")[2]) == [{"function": "f"}]


def test_names_that_utf_8_cannot_encode_are_told_as_any_others():
    data = {"name": "\ud800\u202e"}
    with served(lambda: data, stacks=lambda: [data], statistics=lambda: data) as page:
        assert json.loads(ask(page, "/stacks")[2]) == [data]
        assert json.loads(ask(page, "/statistics")[2]) == data
        viewer = Viewer(page)
        assert viewer.next() == ("snapshot", data)
        viewer.close()


def test_a_viewer_gets_a_snapshot_and_then_what_has_changed():
    data = snapshot(2)
    with served(lambda: json.loads(json.dumps(data))) as page:
        viewer = Viewer(page)
        assert viewer.next() == ("snapshot", data)
        data["tasks"]["running"] = 77
        while (change := viewer.next())[1] == {}:
            assert change == ("delta", {})
        assert change == ("delta", {"tasks": {"running": 77}})
        viewer.close()


def test_nothing_is_looked_up_while_nobody_looks_and_once_for_all_who_do():
    taken = []
    with served(lambda: taken.append(1) or snapshot(1)) as page:
        ask(page)
        assert taken == []
        viewers = [Viewer(page) for _ in range(5)]
        for viewer in viewers:
            viewer.next()
        before = len(taken)
        for _ in range(3):
            for viewer in viewers:
                viewer.next()
        assert len(taken) - before <= 6  # not 15
        for viewer in viewers:
            viewer.close()


def test_costly_snapshots_are_taken_less_often():
    assert pause_after(0.0) == 0.25
    assert pause_after(0.005) < 0.25
    assert pause_after(0.1) == pytest.approx(2.5)
    assert min(map(pause_after, (0.0, 0.01, 0.2, 1.0))) >= 0.1


def test_viewers_are_told_when_the_pool_has_ended():
    left = [snapshot(1)]
    with served(lambda: left[0]) as page:
        viewer = Viewer(page)
        assert viewer.next()[0] == "snapshot"
        left[0] = None
        while (kind := viewer.next()[0]) == "delta":
            pass
        assert kind == "ended"
        viewer.close()


def test_close_ends_what_viewers_read_at_once():
    before = threading.active_count()
    page = Dashboard(("127.0.0.1", 0), lambda: snapshot(1))
    viewer = Viewer(page)
    assert viewer.next()[0] == "snapshot"
    page.close()
    assert threading.active_count() == before
    while (kind := viewer.next()[0]) == "delta":
        pass
    assert kind == "ended"
    viewer.close()


def test_a_failure_is_logged_and_ends_what_viewers_read(caplog):
    left = [snapshot(1)]
    with served(lambda: left.pop() if left else 1 // 0) as page:
        viewer = Viewer(page)
        assert viewer.next()[0] == "snapshot"
        assert viewer.next()[0] == "ended"
        viewer.close()
    assert "the page of a pool has failed" in caplog.text


def test_a_forked_child_does_not_keep_the_address(page):
    child = os.fork()
    if not child:
        page.close()
        os._exit(page._sock.fileno() != -1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert ask(page)[0] == 200


def test_an_address_in_use_is_an_error(page):
    url = urlsplit(page.url)
    with pytest.raises(OSError):
        Dashboard((url.hostname, url.port), dict)


def test_what_is_asked_for_again_at_once_is_not_looked_up_again():
    taken = []
    latest = Latest(lambda: taken.append(1) or len(taken))
    answers = [latest.get() for _ in range(1000)]
    assert answers[0] == 1
    assert answers == sorted(answers)
    assert len(taken) < 1000


def test_what_is_asked_for_later_is_new(monkeypatch):
    times = iter([0.0, 0.001, 0.1, 0.102, 0.103, 0.2, 1.0, 2.0, 26.9, 27.1, 27.1])
    monkeypatch.setattr("woolexec.observe.dashboard.monotonic", lambda: 10 + next(times))
    answers = iter(range(4))
    latest = Latest(lambda: next(answers))
    assert [latest.get() for _ in range(4)] == [0, 0, 1, 1]
    assert [latest.get() for _ in range(3)] == [2, 2, 3]  # a second for an answer: the next is 25 seconds later


def test_viewer_whose_request_was_on_its_way_is_told_that_the_pool_has_ended():
    async def look():
        watch = Watch(lambda: snapshot(1))
        first = watch.events()
        assert "event: snapshot" in await anext(first)
        watch.close()
        rest = [event async for event in first]
        return rest, [event async for event in watch.events()]

    for events in asyncio.run(look()):
        assert "event: ended" in events[-1]
        assert len(events) == 1
