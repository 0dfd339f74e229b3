"""`woolexec serve --metrics`, as Prometheus and clients see it."""

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

pytest.importorskip("prometheus_client")

from prometheus_client.parser import text_string_to_metric_families

from tests.cli.serving import PATIENCE, run_serve, serving
from tests.mesh.tasks import throw_if_odd
from woolexec import PeerPoolExecutor
from woolexec.observe.metric_table import TABLE


def scraped(url):
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
        text = answer.read().decode()
    families = list(text_string_to_metric_families(text))
    assert {each.name for each in families} == {each.name for each in TABLE} | {"woolexec_build_info"}
    return {(each.name, *each.labels.values()): each.value for family in families for each in family.samples}


def eventually(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.01)


def test_metrics_are_those_of_all_clients_also_of_those_that_have_left():
    with serving("--metrics", "127.0.0.1:0") as (_, about):
        url = about["metrics"]
        with PeerPoolExecutor(peers=about["address"]) as first, PeerPoolExecutor(peers=about["address"]) as second:
            assert first.submit(pow, 2, 10).result(PATIENCE) == 1024
            list(second.map(throw_if_odd, range(100), return_exceptions=True))
            samples = scraped(url)
            assert samples["woolexec_tasks_finished_total", "returned"] == 51
            assert samples["woolexec_tasks_finished_total", "failed"] == 50
            assert samples["woolexec_task_seconds_count",] == 101
            workers = {name[1]: value for name, value in samples.items() if name[0] == "woolexec_workers"}
            assert sum(workers.values()) >= 2
            assert samples["woolexec_worker_memory_bytes",] > 1 << 20
            sent = sum(each.bytes_sent for pool in (first, second) for each in pool.statistics().peers)
            assert 0 < samples["woolexec_link_bytes_total", "received"] <= sent
            assert samples["woolexec_link_bytes_total", "sent"] > 0
        eventually(lambda: not any(value for name, value in scraped(url).items() if name[0] == "woolexec_workers"))
        after = scraped(url)
        assert after["woolexec_tasks_finished_total", "returned"] == 51
        assert after["woolexec_tasks_finished_total", "failed"] == 50
        assert after["woolexec_link_bytes_total", "received"] >= samples["woolexec_link_bytes_total", "received"]


def test_a_client_that_sends_nothing_does_not_keep_others_from_the_metrics():
    with serving("--metrics", "127.0.0.1:0") as (_, about):
        address = about["metrics"].removeprefix("http://").partition("/")[0]
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port)), PATIENCE):
            assert scraped(about["metrics"])["woolexec_tasks_finished_total", "returned"] == 0


def test_nothing_listens_and_nothing_is_imported_without_being_asked_for():
    code = "import sys, woolexec.cli.serve; print('prometheus_client' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "False\n"
    with serving() as (_, about):
        assert "metrics" not in about


def test_an_address_that_is_taken_is_said():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run_serve("--metrics", str(taken.getsockname()[1]))
    assert done.returncode == 1
    assert "woolexec serve: --metrics 127.0.0.1:" in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("prometheus") is None, reason="Debian's prometheus is not installed")
def test_prometheus_scrapes_two_peers(tmp_path):
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(serving("--metrics", "127.0.0.1:0"))[1] for _ in range(2)]
        targets = [each["metrics"].removeprefix("http://").partition("/")[0] for each in peers]
        scrape = {"job_name": "woolexec", "scrape_interval": "100ms", "scrape_timeout": "100ms"}
        scrape["static_configs"] = [{"targets": targets}]
        (tmp_path / "prometheus.yml").write_text(json.dumps({"scrape_configs": [scrape]}))  # JSON is YAML
        with socket.create_server(("127.0.0.1", 0)) as sock:
            own = f"127.0.0.1:{sock.getsockname()[1]}"
        files = (f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data")
        command = ["prometheus", *files, f"--web.listen-address={own}", "--log.level=error"]
        prometheus = stack.enter_context(subprocess.Popen(command))
        stack.callback(prometheus.terminate)
        for number, about in enumerate(peers, 1):
            with PeerPoolExecutor(peers=about["address"]) as pool:
                assert len(list(pool.map(abs, range(10 * number)))) == 10 * number

        def answer(query):
            with contextlib.suppress(OSError, urllib.error.URLError):
                url = f"http://{own}/api/v1/query?query={query}"
                with urllib.request.urlopen(url, timeout=PATIENCE) as got:
                    return sorted(float(each["value"][1]) for each in json.load(got)["data"]["result"])
            return None

        eventually(lambda: answer("up") == [1, 1])
        eventually(lambda: answer("woolexec_task_seconds_count") == [10, 20])
        eventually(lambda: answer("sum(woolexec_tasks_finished_total)") == [30])
