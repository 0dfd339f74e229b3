"""Hosts with separate addresses: two peers, and the client."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mesh.hosts import LONG, ip, joined, namespaces_work
from woolexec.mesh.security.certificate_authority import Authority

pytestmark = [
    pytest.mark.skipif(not namespaces_work(), reason="takes root, iproute2 and network namespaces"),
    pytest.mark.timeout(180),
    pytest.mark.leaks(reason="the kernel takes its time to end namespaces"),
]


@pytest.fixture
def hosts():
    with joined(3) as made:
        yield made


@pytest.fixture
def files(tmp_path):
    authority = Authority.make(tmp_path, name="the tests' own")
    for role in ("peer", "client"):
        authority.issue(role)
    return {name: str(tmp_path / name) for name in ("ca.pem", "peer.pem", "peer.key", "client.pem", "client.key")}


@pytest.fixture
def tls(files):
    return ["--tls-ca", files["ca.pem"], "--tls-cert", files["peer.pem"], "--tls-key", files["peer.key"]]


@pytest.fixture
def client(files):
    return {
        "WOOLEXEC_TLS_CA": files["ca.pem"],
        "WOOLEXEC_TLS_CERT": files["client.pem"],
        "WOOLEXEC_TLS_KEY": files["client.key"],
    }


PACKED = """
import json, sys
from pathlib import Path
from woolexec import PeerPoolExecutor

def received():
    return int(Path("/sys/class/net/eth0/statistics/rx_bytes").read_text())

text = b"".join(b"%d is %d\\n" % (number, number * number) for number in range(1_000_000))
with PeerPoolExecutor(peers=json.loads(sys.argv[1]), compression=sys.argv[2]) as pool:
    assert pool.submit(len, text).result(60) == len(text)
    before = received()
    assert pool.submit(bytes.upper, text).result(60) == text.upper()
    print((received() - before) / len(text))
"""


@pytest.mark.slow
@pytest.mark.parametrize("ours", ["auto", "off"])
def test_large_payloads_are_compressed_on_a_slow_link(hosts, tls, client, ours):
    pytest.importorskip("lz4.block" if sys.version_info < (3, 14) else "compression.zstd")
    one, _, three = hosts
    slow = ["tc", "-n", one.name, "qdisc", "add", "dev", "eth0", "root", "tbf"]
    if (
        shutil.which("tc") is None
        or subprocess.run([*slow, "rate", "100mbit", "burst", "256k", "latency", "50ms"]).returncode
    ):
        pytest.skip("takes tc, and a kernel with tbf")
    with one.serving("--bind", "0.0.0.0:7437", *tls):
        [part] = map(float, three.run(PACKED, everywhere(one.address), ours, **client))
    assert part < 0.7 if ours == "auto" else part > 1


WHERE = """
import json, subprocess, sys, time
from woolexec import PeerPoolExecutor

def where(_=None):
    time.sleep(0.02)
    return subprocess.run(["ip", "-4", "-j", "addr", "show", "eth0"], capture_output=True, text=True).stdout

def address(text):
    return json.loads(text)[0]["addr_info"][0]["local"]

with PeerPoolExecutor(peers=json.loads(sys.argv[1])) as pool:
    pool.wait_for_peers(int(sys.argv[2]), 30)
    print(*sorted({address(text) for text in pool.map(where, range(20), chunksize=1)}))
"""


def everywhere(*addresses):
    return json.dumps([f"{address}:7437" for address in addresses])


def test_tasks_run_on_both_hosts(hosts, tls, client):
    one, two, three = hosts
    with one.serving("--bind", "0.0.0.0:7437", *tls), two.serving("--bind", "0.0.0.0:7437", *tls):
        found = three.run(WHERE, everywhere(one.address, two.address), "2", **client)
    assert found == [one.address, two.address]


KEPT = """
import json, os, sys
from pathlib import Path
from concurrent.futures import wait
from woolexec import PeerPoolExecutor, ValueLostError

def load(number):
    return os.urandom(number)  # it cannot be compressed

def size(*parts):
    return sum(map(len, parts))

def received():
    return int(Path("/sys/class/net/eth0/statistics/rx_bytes").read_text())

with PeerPoolExecutor(peers=json.loads(sys.argv[1])) as pool:
    pool.wait_for_peers(2, 30)
    kept = pool.with_options(keep=True)
    parts = [kept.submit(load, 20_000_000) for _ in range(4)]
    wait(parts)
    assert len({part.value.home for part in parts}) == 2
    before = received()
    for part in parts:
        assert pool.with_options(at=part).submit(size, *parts).result(60) == 80_000_000
    print("through" if received() - before > 10_000_000 else "past")
    assert len(parts[0].result(60)) == 20_000_000
"""


def test_kept_values_go_past_the_client_from_host_to_host(hosts, tls, client):
    one, two, three = hosts
    with one.serving("--bind", "0.0.0.0:7437", *tls), two.serving("--bind", "0.0.0.0:7437", *tls):
        assert three.run(KEPT, everywhere(one.address, two.address), **client) == ["past"]


@pytest.mark.slow
@pytest.mark.parametrize(("route", "ways"), [("unreachable", 1), ("unreachable", 2), ("blackhole", 1)])
def test_kept_values_go_through_the_client_where_hosts_cannot_reach_each_other(hosts, tls, client, route, ways):
    one, two, three = hosts
    for host, other in ((one, two), (two, one))[:ways]:
        ip("-n", host.name, "route", "add", route, f"{other.address}/32")
    with one.serving("--bind", "0.0.0.0:7437", *tls), two.serving("--bind", "0.0.0.0:7437", *tls):
        assert three.run(KEPT, everywhere(one.address, two.address), **client) == ["through"]


@pytest.mark.slow
def test_doctor_names_the_peers_that_cannot_reach_each_other(hosts, tls, client):
    one, two, three = hosts
    with one.serving("--bind", "0.0.0.0:7437", *tls), two.serving("--bind", "0.0.0.0:7437", *tls):
        addresses = [f"{host.address}:7437" for host in (one, two)]
        assert "each reaches the others" in doctor(three, addresses, client)
        ip("-n", one.name, "route", "add", "unreachable", f"{two.address}/32")
        said = doctor(three, addresses, client)
    # What two sends to one is not answered either: no packet goes the other way.
    assert [f"note  {a} cannot reach {b}" in said for a, b in (addresses, addresses[::-1])] == [True, True]
    assert "go through your program, which is slower" in said


def doctor(host, addresses, client):
    ran = subprocess.run(
        host.command("-m", "woolexec", "doctor", *addresses),
        env={**os.environ, **client},
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


PUT = """
import json, os, sys
from pathlib import Path
from woolexec import PeerPoolExecutor

def sent():
    return int(Path("/sys/class/net/eth0/statistics/tx_bytes").read_text())

with PeerPoolExecutor(0, peers=json.loads(sys.argv[1])) as pool:
    pool.wait_for_peers(4, 30)
    names = [link.name for link in pool._engine.scheduler.links]
    before, size = sent(), 30_000_000
    value = pool.put(os.urandom(size))
    futures = [pool.with_options(at=name).submit(len, value) for name in names for _ in range(3)]
    assert {future.result(60) for future in futures} == {size}
    print((sent() - before) / size)
"""


@pytest.mark.slow
@pytest.mark.parametrize("is_cut", [False, True])
def test_value_that_is_put_leaves_its_owner_twice_for_four_peers_of_two_hosts(hosts, tls, client, is_cut):
    one, two, three = hosts
    if is_cut:  # each host has a value for itself
        for host, other in ((one, two), (two, one)):
            ip("-n", host.name, "route", "add", "unreachable", f"{other.address}/32")
    with contextlib.ExitStack() as peers:
        for host in (one, two):
            for port in (7437, 7438):
                peers.enter_context(host.serving("--bind", f"0.0.0.0:{port}", *tls))
        addresses = json.dumps([f"{host.address}:{port}" for host in (one, two) for port in (7437, 7438)])
        [times] = map(float, three.run(PUT, addresses, **client))
    assert times < (4.3 if is_cut else 2.2)


@pytest.mark.slow
def test_peers_are_found_on_the_local_network_by_the_name_of_their_pool(hosts, tls, client):
    one, two, three = hosts
    announced = ["--bind", "0.0.0.0:7437", "--announce", "lan", *tls]
    with one.serving(*announced, "--pool", "a"), two.serving(*announced, "--pool", "b"):
        assert three.run(WHERE, json.dumps("lan://a"), "1", **client) == [one.address]
        assert three.run(WHERE, json.dumps("lan://"), "2", **client) == [one.address, two.address]


def shell(host, line, folder):
    """Start a line of a shell on a host, with `woolexec` on its path."""
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = ["ip", "netns", "exec", host.name, "sh", "-c", f"exec {line}"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env, cwd=folder)


@pytest.mark.slow
def test_lines_of_the_page_get_work_done_on_two_hosts(hosts, tmp_path):
    page = Path(__file__).parents[2].joinpath("docs", "peers.md").read_text()
    make, serve, look = re.findall(r"^[^#$\n]*\bwoolexec (?:certs init|serve --bind|peers).*$", page, re.MULTILINE)
    one, two, three = hosts
    with shell(three, f"sh -c '{make}'", tmp_path) as made:
        made.communicate(timeout=LONG)
    with shell(one, serve, tmp_path) as first, shell(two, serve, tmp_path) as second:
        try:
            assert all("woolexec peer at" in process.stdout.readline() for process in (first, second))
            with shell(three, f"env {look}", tmp_path) as looked:
                listed = looked.communicate(timeout=LONG)[0]
            assert all(f"{host.address}:7437" in listed for host in (one, two))
            settings = dict(word.split("=") for word in look.split() if "=" in word)
            client = {name: str(tmp_path / file) for name, file in settings.items()}
            assert three.run(WHERE, json.dumps("lan://"), "2", **client) == [one.address, two.address]
        finally:
            first.kill()
            second.kill()


@pytest.mark.slow
def test_peers_are_found_in_a_folder_that_hosts_share(hosts, tls, client, tmp_path):
    one, two, three = hosts
    (tmp_path / "shared").mkdir()
    where = f"dir:{tmp_path}/shared"
    announced = ["--bind", "0.0.0.0:7437", "--announce", where, *tls]
    with one.serving(*announced), two.serving(*announced):
        assert three.run(WHERE, json.dumps(where), "2", **client) == [one.address, two.address]


@pytest.mark.slow
def test_peer_that_was_started_without_settings_is_out_of_reach_for_other_hosts(hosts, tmp_path):
    one, _, three = hosts
    script = "import socket, sys; print(socket.socket().connect_ex((sys.argv[1], 7437)))"
    (tmp_path / "state").mkdir(mode=0o700)
    settings = {"WOOLEXEC_STATE": str(tmp_path / "state")}
    with one.serving(**settings):
        assert one.run(script, "127.0.0.1") != ["0"]
        assert three.run(script, one.address) != ["0"]
        assert one.run(WHERE, json.dumps("local://"), "1", **settings) == [one.address]


@pytest.mark.slow
def test_token_is_enough_for_hosts_that_have_it(hosts, tmp_path):
    one, _, three = hosts
    path = tmp_path / "token"
    subprocess.run([sys.executable, "-m", "woolexec", "certs", "token", "--file", path], check=True)
    with one.serving("--bind", "0.0.0.0:7437", "--token-file", str(path)):
        assert three.run(WHERE, everywhere(one.address), "1", WOOLEXEC_TOKEN_FILE=str(path)) == [one.address]


LINGER = """
import json, os, socket, sys, time
from pathlib import Path
from woolexec import PeerPoolExecutor, WorkerLostError

def hold(room):
    Path(room, "held").touch()
    time.sleep(600)

room = Path(sys.argv[2])
with PeerPoolExecutor(peers=json.loads(sys.argv[1])) as pool:
    future = pool.submit(hold, str(room))
    while not (room / "held").exists():
        time.sleep(0.01)
    (room / "ready").touch()
    assert isinstance(future.exception(50), WorkerLostError)
    print("lost", flush=True)
    assert pool.submit(abs, -1).result(50) == 1  # when the way is there again, or at another peer
    print("again")
"""


def lingering(host, peers, room, **environment):
    command = host.command("-c", LINGER, peers, str(room))
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment})


def wait_ready(room):
    from tests.mesh.conftest import eventually

    eventually((Path(room) / "ready").exists)


@pytest.mark.slow
def test_link_that_falls_silent_is_given_up_and_made_again(hosts, tls, client, tmp_path):
    one, _, three = hosts
    with one.serving("--bind", "0.0.0.0:7437", *tls):
        with lingering(three, everywhere(one.address), tmp_path, **client) as program:
            wait_ready(tmp_path)
            one.cut()
            assert program.stdout.readline() == "lost\n"
            one.mend()
            assert program.stdout.readline() == "again\n"
            assert program.wait(LONG) == 0


def test_peer_that_is_killed_costs_its_calls_and_others_go_on(hosts, tls, client, tmp_path):
    one, two, three = hosts
    with one.serving("--bind", "0.0.0.0:7437", *tls) as (process, _):
        with lingering(three, everywhere(one.address, two.address), tmp_path, **client) as program:
            wait_ready(tmp_path)
            with two.serving("--bind", "0.0.0.0:7437", *tls):
                process.send_signal(signal.SIGKILL)
                assert program.stdout.readline() == "lost\n"
                assert program.stdout.readline() == "again\n"
                assert program.wait(LONG) == 0


@contextlib.contextmanager
def names(host, tmp_path, *records):
    """A DNS server on a host, which that host asks."""
    etc = Path("/etc/netns", host.name)
    etc.mkdir(parents=True)
    (etc / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    command = ["ip", "netns", "exec", host.name, "dnsmasq", "--keep-in-foreground", "--no-resolv", "--no-hosts"]
    command += [
        "--conf-file=/dev/null",
        f"--pid-file={tmp_path}/dns.pid",
        "--listen-address=127.0.0.1",
        "--bind-interfaces",
    ]
    try:
        with subprocess.Popen([*command, "--user=root", *records]) as server:
            try:
                yield server
            finally:
                server.kill()
    finally:
        shutil.rmtree(etc)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("dnsmasq") is None, reason="takes dnsmasq")
def test_peers_are_found_behind_a_name_of_a_real_dns_server(hosts, tls, client, tmp_path):
    one, two, three = hosts
    records = [
        *(f"--host-record=workers.test,{host.address}" for host in (one, two)),
        f"--host-record=one.test,{one.address}",
        f"--host-record=two.test,{two.address}",
        *(f"--srv-host=_woolexec._tcp.workers.test,{name}.test,7437" for name in ("one", "two")),
    ]
    with one.serving("--bind", "0.0.0.0:7437", *tls), two.serving("--bind", "0.0.0.0:7437", *tls):
        with names(three, tmp_path, *records):
            for url in ("dns://workers.test:7437", "dns://_woolexec._tcp.workers.test"):
                found = three.run(WHERE, json.dumps(url), "2", **client)
                assert found == [one.address, two.address], url


DRAINED = """
import json, sys, time
from pathlib import Path
from woolexec import PeerPoolExecutor

def work(number):
    time.sleep(0.02)
    return number

room = Path(sys.argv[2])
with PeerPoolExecutor(peers=json.loads(sys.argv[1])) as pool:
    pool.wait_for_peers(2, 30)
    done = 0
    while not (room / "enough").exists():
        assert list(pool.map(work, range(10), chunksize=1)) == list(range(10))
        done += 10
        (room / "ready").touch()
    print(done)
"""


@pytest.mark.slow
def test_peers_are_drained_one_after_the_other_under_load_and_no_task_fails(hosts, tls, client, tmp_path):
    one, two, three = hosts
    bind = ["--bind", "0.0.0.0:7437", *tls]
    with contextlib.ExitStack() as stack:
        serving = {host: stack.enter_context(host.serving(*bind))[0] for host in (one, two)}
        command = three.command("-c", DRAINED, everywhere(one.address, two.address), str(tmp_path))
        env = {**os.environ, **client}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as program:
            wait_ready(tmp_path)
            for host in (one, two, one):
                serving[host].send_signal(signal.SIGTERM)
                assert serving[host].wait(LONG) == 0
                serving[host] = stack.enter_context(host.serving(*bind))[0]
            (tmp_path / "enough").touch()
            assert int(program.stdout.readline()) >= 10
            assert program.wait(LONG) == 0


@pytest.mark.slow
@pytest.mark.parametrize("end", ["client", "peer"])
def test_way_that_is_cut_in_one_direction_is_given_up_and_made_again(hosts, tls, client, tmp_path, end):
    one, _, three = hosts
    mute, deaf = (three, one) if end == "client" else (one, three)
    with one.serving("--bind", "0.0.0.0:7437", *tls):
        with lingering(three, everywhere(one.address), tmp_path, **client) as program:
            wait_ready(tmp_path)
            ip("-n", mute.name, "route", "add", "blackhole", f"{deaf.address}/32")
            assert program.stdout.readline() == "lost\n"
            ip("-n", mute.name, "route", "del", "blackhole", f"{deaf.address}/32")
            assert program.stdout.readline() == "again\n"
            assert program.wait(LONG) == 0


NESTED = """
import json, subprocess, sys, time
from pathlib import Path
from woolexec import PeerPoolExecutor, current_executor

def where(room, name):
    Path(room, name).touch()
    while len(list(Path(room).iterdir())) < 2:
        time.sleep(0.01)
    return subprocess.run(["ip", "-4", "-j", "addr", "show", "eth0"], capture_output=True, text=True).stdout

def spread(room):
    futures = [current_executor().submit(where, room, name) for name in "ab"]
    return [json.loads(future.result())[0]["addr_info"][0]["local"] for future in futures]

with PeerPoolExecutor(peers=sys.argv[1]) as pool:
    print(*sorted(pool.submit(spread, sys.argv[2]).result(50)))
"""


@pytest.mark.slow
def test_nested_tasks_go_from_host_to_host(hosts, tls, client, tmp_path):
    one, two, three = hosts
    bind = ["--bind", "0.0.0.0:7437", *tls]
    (tmp_path / "meeting").mkdir()
    with two.serving(*bind), one.serving(*bind, "--peers", f"{two.address}:7437"):
        found = three.run(NESTED, f"{one.address}:7437", str(tmp_path / "meeting"), **client)
        assert found == [one.address, two.address]
