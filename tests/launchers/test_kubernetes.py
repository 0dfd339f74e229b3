"""The official client over HTTP, against a server that holds to the schemas of Kubernetes: see kubernetes_server.py."""

import asyncio
import itertools
import os
import re
import signal
import subprocess
import sys
import time

import pytest

pytest.importorskip("kubernetes.aio")

from tests.faults.tasks import eventually
from tests.launchers.kubernetes_server import Refusal, Server
from woolexec import NoPeersError, PeerPoolExecutor, WorkerLostError
from woolexec.errors import DiscoveryError
from woolexec.launchers import Kubernetes, kubernetes, kubernetes_client
from woolexec.launchers.kubernetes import main
from woolexec.launchers.kubernetes_client import Cluster, LeaseLostError

PATIENCE = 60.0
pytestmark = pytest.mark.timeout(180)


@pytest.fixture(params=["Deployment"])
def server(request, monkeypatch, tmp_path):
    with Server(tmp_path, request.param) as made:
        monkeypatch.setenv("KUBECONFIG", made.kubeconfig())
        yield made
        made.wait_until(lambda: made.workload["spec"]["replicas"] == 0)


both = pytest.mark.parametrize("server", ["Deployment", "StatefulSet"], indirect=True)


def launcher(server, **options):
    return Kubernetes("team", "workers", kind=server.kind, **{"max": 2} | options)


def holder(server):
    return server.kinds["Lease"].get("spec", {}).get("holderIdentity", "")


# -- without it -------------------------------------------------------------------------------------------------------


def test_url_has_all_options():
    made = Kubernetes.from_url("k8s://team/workers?max=3&kind=StatefulSet&port=7000&secret=s&context=c&lease=20")
    assert (str(made), made.max, made.lease) == ("k8s://team/workers", 3, 20.0)
    assert (made.target.kind, made.target.port) == ("StatefulSet", 7000)
    assert (made.target.secret, made.target.context) == ("s", "c")
    assert Kubernetes.from_url("k8s://team/workers").target.secret == "workers-token"


@pytest.mark.parametrize("wrong", ["team", "team/", "/workers", "team/a/b", "team/a?kind=Job", "team/a?lease=0"])
def test_url_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValueError):
        Kubernetes.from_url(f"k8s://{wrong}")


def test_configuration_that_is_missing_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with PeerPoolExecutor(peers="k8s://team/workers", peers_timeout=0.3) as pool:
        assert "no access to Kubernetes" in str(pool.submit(abs, -1).exception(PATIENCE))


# -- with it ----------------------------------------------------------------------------------------------------------


def test_deployment_that_may_not_be_used_fails_tasks_at_once(server):
    with PeerPoolExecutor(peers="k8s://team/others", peers_timeout=None) as pool:
        assert isinstance(error := pool.submit(abs, -1).exception(PATIENCE), NoPeersError)
        assert "(status 403)" in str(error)


@pytest.mark.slow
def test_url_is_all_it_takes_and_the_role_of_the_page_is_what_it_needs(server):
    with PeerPoolExecutor(peers="k8s://team/workers?max=2&idle_timeout=1") as pool:
        assert len(list(pool.map(time.sleep, [0.5] * 20, chunksize=1, timeout=PATIENCE))) == 20
        assert server.most == 2
        token = server.kinds["Secret"]["data"]["token"]
        server.wait_until(lambda: not server.pods)
        assert pool.submit(abs, -1).result(PATIENCE) == 1
    assert token
    assert server.kinds["Secret"]["data"]["token"] == ""
    assert holder(server) == ""
    assert server.workload["spec"]["replicas"] == 0
    assert server.used == {(index, verb) for index, rule in enumerate(server.rules) for verb in rule["verbs"]}


@both
@pytest.mark.slow
def test_idle_pods_end_and_busy_ones_stay(server):
    with PeerPoolExecutor(peers=launcher(server, idle_timeout=1)) as pool:
        pids = list(pool.map(lambda _: (time.sleep(0.5), os.getpid())[1], range(20), chunksize=1, timeout=PATIENCE))
        assert len(set(pids)) == 2
        long = pool.submit(time.sleep, 6)
        server.wait_until(lambda: len(server.pods) == 1 or long.done())
        assert long.result(PATIENCE) is None
        server.wait_until(lambda: not server.pods)


@both
@pytest.mark.slow
def test_pod_that_is_deleted_drains_and_another_one_comes(server):
    with PeerPoolExecutor(peers=launcher(server, max=1)) as pool:
        running = pool.submit(time.sleep, 3)
        server.wait_until(running.running)
        (name,) = server.pods
        uid = server.pods[name]["metadata"]["uid"]
        server.delete(name)
        later = pool.submit(abs, -1)
        assert running.result(PATIENCE) is None
        assert later.result(PATIENCE) == 1
        assert [pod["metadata"]["uid"] for pod in server.pods.values()] != [uid]


def told(pool):
    """Return why there is no peer."""
    with pytest.raises(TimeoutError) as caught:
        pool.wait_for_peers(1, timeout=0.3)
    return str(caught.value)


@pytest.mark.slow
def test_pod_that_is_lost_costs_what_it_ran(server):
    with PeerPoolExecutor(peers=launcher(server, max=1)) as pool:
        lost = pool.submit(time.sleep, PATIENCE)
        server.wait_until(lost.running)
        (name,) = server.pods
        server.processes[name].kill()
        with pytest.raises(WorkerLostError):
            lost.result(PATIENCE)
        server.delete(name)
        assert pool.submit(abs, -1).result(PATIENCE) == 1


@pytest.mark.slow
def test_what_keeps_a_pod_from_serving_is_said(server):
    server.workload["spec"]["template"]["spec"]["containers"][0]["command"][3] = "nonsense:nonsense"
    with PeerPoolExecutor(peers=launcher(server)) as pool:
        future = pool.submit(abs, -1)
        server.wait_until(lambda: any("containerStatuses" in pod["status"] for pod in server.pods.values()))
        assert eventually(lambda: "CrashLoopBackOff" in told(pool))
        future.cancel()


def test_pods_that_are_not_made_are_said(server):
    server.makes_pods = False
    with PeerPoolExecutor(peers=launcher(server)) as pool:
        future = pool.submit(abs, -1)
        server.wait_until(lambda: server.workload["spec"]["replicas"] == 1)
        assert eventually(lambda: "1 of its pods do not exist yet" in told(pool))
        future.cancel()


@pytest.mark.parametrize("rule", range(4))
def test_right_that_is_missing_is_named(server, rule):
    resource = server.rules.pop(rule)["resources"][0]
    with PeerPoolExecutor(peers=launcher(server)) as pool:
        future = pool.submit(abs, -1)
        assert eventually(lambda: re.search(f'{resource} ".*is forbidden', told(pool)))
        future.cancel()


@pytest.mark.slow
def test_api_that_fails_for_a_while_costs_nothing(server):
    with PeerPoolExecutor(peers=launcher(server, max=1)) as pool:
        assert pool.submit(abs, -1).result(PATIENCE) == 1
        server.failing = 3
        server.wait_until(lambda: not server.failing)
        assert pool.submit(abs, -1).result(PATIENCE) == 1
        assert len(server.pods) == 1


@pytest.mark.slow
def test_credentials_that_expire_are_read_again(server):
    with PeerPoolExecutor(peers=launcher(server, max=1)) as pool:
        assert pool.submit(abs, -1).result(PATIENCE) == 1
        with server.changed:
            server.expired = True
            server.kubeconfig()
            count = len(server.asked)
        server.wait_until(lambda: len(server.asked) > count + 2)
        assert pool.submit(abs, -1).result(PATIENCE) == 1


@pytest.mark.parametrize("written", ["", "clusters: [{", "kind: Config"])
def test_kubeconfig_that_is_just_being_written_is_read_again(server, written):
    path = server.folder / "kubeconfig"

    async def use():
        async with Cluster(launcher(server).target, 60.0) as cluster:
            server.expired = True
            path.write_text(written)
            for _ in range(2):
                with pytest.raises(DiscoveryError, match="no access to Kubernetes"):
                    await cluster.set_replicas(1)
            server.kubeconfig()
            await cluster.set_replicas(0)

    asyncio.run(use())


def test_deployment_that_others_change_meanwhile_is_not_lost_to_them(server, monkeypatch):
    def conflict(patch):
        raise Refusal(409, "the object has been modified")

    async def use():
        async with Cluster(launcher(server).target, 60.0) as cluster:
            await cluster.acquire()
            with monkeypatch.context() as patched:
                patched.setattr(server, "scale", conflict)
                with pytest.raises(DiscoveryError, match="has been modified") as raised:
                    await cluster.set_replicas(0)
            assert not isinstance(raised.value, LeaseLostError)
            await cluster.release()

    asyncio.run(use())
    assert holder(server) == ""


def test_lease_whose_renewal_was_written_and_not_answered_is_still_ours(server, monkeypatch):
    def lose_the_answer(thing):
        touch(thing)
        raise Refusal(500, "timed out")

    async def use():
        async with Cluster(launcher(server).target, 60.0) as cluster:
            await cluster.acquire()
            for change in (cluster.renew, cluster.release):
                with monkeypatch.context() as patched:
                    patched.setattr(server, "touch", lose_the_answer)
                    with pytest.raises(DiscoveryError, match="timed out"):
                        await cluster.renew()
                await change()
            server.patched(server.kinds["Lease"], {"spec": {"holderIdentity": "ada:1"}})
            with pytest.raises(LeaseLostError):
                await cluster.renew()

    touch = server.touch
    asyncio.run(use())
    assert holder(server) == "ada:1"


def test_deployment_is_of_one_program_at_a_time(server):
    server.patched(server.kinds["Lease"], {"spec": {"holderIdentity": "ada:1"}})
    with PeerPoolExecutor(peers=launcher(server), peers_timeout=0.3) as pool:
        assert "in use by ada:1" in str(pool.submit(abs, -1).exception(PATIENCE))
    assert holder(server) == "ada:1"


def test_lease_of_another_program_holds_for_the_time_that_it_says_and_is_swept_then(server, monkeypatch, capsys):
    clock = itertools.count(0.0, 0.1)
    for module in (kubernetes, kubernetes_client):
        monkeypatch.setattr(module, "monotonic", lambda: next(clock))
    server.patched(server.kinds["Lease"], {"spec": {"holderIdentity": "ada:1", "leaseDurationSeconds": 3}})
    assert main(["k8s://team/workers?lease=0.03"]) == 0
    assert next(clock) > 3
    assert "has no pods" in capsys.readouterr().out
    assert holder(server) == ""


@pytest.mark.slow
def test_program_whose_lease_another_one_has_taken_leaves_the_pods_to_it(server):
    with PeerPoolExecutor(peers=launcher(server, max=1, lease=1.0), peers_timeout=1) as pool:
        assert pool.submit(abs, -1).result(PATIENCE) == 1
        with server.changed:
            server.patched(server.kinds["Lease"], {"spec": {"holderIdentity": "ada:1"}})
        server.wait_until(lambda: is_in_use(pool))
    assert server.workload["spec"]["replicas"] == 1
    assert holder(server) == "ada:1"
    with server.changed:
        server.scale({"spec": {"replicas": 0}})


def is_in_use(pool):
    with pytest.raises(TimeoutError) as raised:
        pool.wait_for_peers(2, timeout=0.2)
    return "in use by" in str(raised.value)


PROGRAM = """
import sys
from woolexec import PeerPoolExecutor
pool = PeerPoolExecutor(peers="k8s://team/workers?max=1&lease=2")
pool.submit(abs, -1).result()
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.slow
def test_pods_of_a_program_that_is_killed_are_swept_and_those_of_one_that_lives_are_not(server, capsys):
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdin=-1, stdout=-1) as process:
        assert process.stdout.readline() == b"ready\n"
        assert main(["k8s://team/workers?lease=2"]) == 0
        assert "is in use by" in capsys.readouterr().out
        assert len(server.pods) == 1
        process.send_signal(signal.SIGKILL)
    assert main(["k8s://team/workers?lease=2"]) == 0
    assert "has no pods" in capsys.readouterr().out
    server.wait_until(lambda: not server.pods)
    assert holder(server) == ""


@pytest.mark.slow
def test_next_program_does_not_use_pods_of_one_that_was_killed(server):
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdin=-1, stdout=-1) as process:
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGKILL)
    (before,) = server.pods
    with PeerPoolExecutor(peers=launcher(server, max=1, lease=2.0)) as pool:
        assert pool.submit(abs, -1).result(PATIENCE) == 1
        assert before not in server.pods


def test_command_that_is_given_nonsense_says_so(capsys):
    assert main(["k8s://team"]) == 1
    assert "needs a namespace" in capsys.readouterr().err


def test_client_that_is_missing_is_named():
    program = (
        "import sys; sys.modules['kubernetes'] = None; import woolexec; woolexec.PeerPoolExecutor(peers='k8s://a/b')"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert "pip install 'woolexec[kubernetes]'" in ran.stderr
