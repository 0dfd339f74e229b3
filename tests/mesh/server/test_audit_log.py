"""The records that a peer writes about the tasks that it has run."""

import itertools
import json
import os
import re
import stat
import threading

import pytest

from tests.mesh import tasks
from tests.mesh.conftest import CREDENTIALS, PATIENCE, eventually, joined
from woolexec import Credentials, PeerPoolExecutor, WorkerLostError
from woolexec.mesh.security.certificate_authority import Authority, show
from woolexec.mesh.server import audit_log
from woolexec.mesh.server.audit_log import Audit
from woolexec.mesh.server.peer import Peer
from woolexec.platform import files


def test_audit_says_who_ran_what_when_and_how_it_ended(tmp_path):
    clock = iter(range(1_700_000_000, 1_700_001_000)).__next__
    audit = Audit(str(tmp_path / "audit"), clock=lambda: float(clock()))
    with Peer(1, credentials=CREDENTIALS, audit=audit) as peer, joined(peer) as pool:
        assert pool.submit(tasks.weigh, b"a secret").result(PATIENCE) == 8
        assert isinstance(pool.submit(tasks.weigh, 3).exception(PATIENCE), TypeError)
        assert isinstance(pool.with_options(name="the end").submit(os._exit, 3).exception(PATIENCE), WorkerLostError)
        held = pool.submit(tasks.hold, tmp_path, "held")
        eventually(held.running)
        assert held.cancel(force=True)
    audit.close()
    lines = [json.loads(line) for line in (tmp_path / "audit").read_text().splitlines()]
    assert stat.S_IMODE((tmp_path / "audit").stat().st_mode) == 0o600
    assert "secret" not in (tmp_path / "audit").read_text()
    assert {line["claims"] for line in lines} == {f"{os.uname().nodename}:{os.getpid()}"}
    assert {line["client"] for line in lines} == {CREDENTIALS.proof}
    assert re.fullmatch("token [0-9a-f]{8}", CREDENTIALS.proof)
    assert [(line["task"], line["outcome"]) for line in lines] == [
        ("weigh", "returned"),
        ("weigh", "raised builtins:TypeError"),
        ("the end", "raised woolexec.errors:WorkerLostError"),
        ("hold", "cancelled"),
    ]
    assert all(line["started"] is not None and "2023-11-14T22:" in line["ended"] for line in lines)
    assert list(lines[0]) == ["client", "claims", "task", "call", "started", "ended", "outcome"]


def test_task_ends_although_it_cannot_be_written_down(caplog):
    audit = Audit("/dev/full")
    with Peer(1, credentials=CREDENTIALS, audit=audit) as peer, joined(peer) as pool:
        assert [pool.submit(tasks.weigh, b"12").result(PATIENCE) for _ in range(5)] == [2] * 5
        assert peer._acceptor.places.admission.free == 1
    audit.close()
    assert [record.getMessage() for record in caplog.records if "audit log" in record.getMessage()] == [
        "cannot write tasks to the audit log: [Errno 28] No space left on device"
    ]


def test_audit_names_the_certificate_that_was_proved(tmp_path):
    made = Authority.make(tmp_path / "certs", name="ours")
    made.issue("peer")
    audit = Audit(str(tmp_path / "audit"))

    def credentials(name):
        files = (str(tmp_path / "certs" / each) for each in ("ca.pem", f"{name}.pem", f"{name}.key"))
        return Credentials.from_files(None, *files)

    with Peer(1, bind="127.0.0.1:0", credentials=credentials("peer"), audit=audit) as peer:
        for name in ("ada", "mallory"):
            made.issue("client", name=name)
            with PeerPoolExecutor(peers=peer.address, credentials=credentials(f"client-{name}")) as pool:
                assert pool.submit(tasks.weigh, b"12").result(PATIENCE) == 2
    audit.close()
    lines = [json.loads(line) for line in (tmp_path / "audit").read_text().splitlines()]
    serials = [show(tmp_path / "certs" / f"client-{name}.pem")["serial"] for name in ("ada", "mallory")]
    assert [line["client"] for line in lines] == [
        f"certificate 'ada' {serials[0]}",
        f"certificate 'mallory' {serials[1]}",
    ]


def test_audit_says_nobody_if_clients_prove_nothing(tmp_path):
    audit = Audit(str(tmp_path / "audit"))
    with Peer(1, credentials=Credentials(), audit=audit) as peer:
        with PeerPoolExecutor(peers=peer.address, credentials=Credentials()) as pool:
            assert pool.submit(tasks.weigh, b"12").result(PATIENCE) == 2
    audit.close()
    assert json.loads((tmp_path / "audit").read_text())["client"] == "nobody"


def test_what_clients_claim_stays_in_one_line_of_ascii_and_is_cut(tmp_path):
    audit = Audit(str(tmp_path / "audit"))
    strange = "pay\nroll\u2028\x1b[2J\x9b\u202e\ud800" + "x" * 10_000
    audit.note("token 1", strange, 1, None, strange, claims=strange)
    audit.close()
    text = (tmp_path / "audit").read_text(encoding="ascii")
    assert text.count("\n") == 1
    assert text[:-1].isprintable()
    assert len(text) < 2000
    assert json.loads(text)["task"].startswith("pay\nroll")


def files_in(folder):
    return {path.name: path.read_text().splitlines() for path in folder.iterdir()}


def test_full_file_is_renamed_and_the_oldest_is_dropped(tmp_path):
    audit = Audit(str(tmp_path / "audit"), limit=1000)
    for number in range(100):
        audit.note("token 1", "weigh", number, None, "returned")
    audit.close()
    found = files_in(tmp_path)
    assert sorted(found) == ["audit", "audit.1", "audit.2", "audit.3", "audit.4"]
    assert all(len("\n".join(lines)) < 1000 for lines in found.values())
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}
    ordered = [found[name] for name in ("audit.4", "audit.3", "audit.2", "audit.1", "audit")]
    numbers = [json.loads(line)["call"] for line in itertools.chain(*ordered)]
    assert numbers == list(range(numbers[0], 100))


def test_several_writers_share_a_file_and_lose_no_line_when_it_is_full(tmp_path):
    path = str(tmp_path / "audit")

    def write(first):
        audit = Audit(path, limit=20_000)
        for number in range(first, first + 100):
            audit.note("token 1", "weigh", number, None, "returned")
        audit.close()

    threads = [threading.Thread(target=write, args=(first,)) for first in range(0, 400, 100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = files_in(tmp_path)
    assert 2 < len(found) <= 5
    assert sorted(json.loads(line)["call"] for line in itertools.chain(*found.values())) == list(range(400))


def test_file_that_another_program_has_renamed_is_begun_anew(tmp_path):
    audit = Audit(str(tmp_path / "audit"))
    audit.note("token 1", "weigh", 1, None, "returned")
    (tmp_path / "audit").rename(tmp_path / "old")
    audit.note("token 1", "weigh", 2, None, "returned")
    audit.close()
    assert {name: [json.loads(line)["call"] for line in lines] for name, lines in files_in(tmp_path).items()} == {
        "old": [1],
        "audit": [2],
    }


def test_file_that_another_writer_renames_meanwhile_is_not_renamed_again(tmp_path, monkeypatch):
    path = tmp_path / "audit"
    audit = Audit(str(path), limit=1)
    audit.note("token 1", "weigh", 1, None, "returned")

    def lock(fd):
        path.rename(tmp_path / "audit.1")
        path.touch(0o600)
        return files.lock(fd)

    monkeypatch.setattr(audit_log, "lock", lock)
    audit.note("token 1", "weigh", 2, None, "returned")
    audit.close()
    assert {name: [json.loads(line)["call"] for line in lines] for name, lines in files_in(tmp_path).items()} == {
        "audit.1": [1],
        "audit": [2],
    }


def test_file_whose_lock_another_process_keeps_is_written_to_as_it_is(tmp_path):
    path = tmp_path / "audit"
    audit = Audit(str(path), limit=1)
    audit.note("token 1", "weigh", 1, None, "returned")
    with open(path) as other:
        assert files.lock(other.fileno())
        audit.note("token 1", "weigh", 2, None, "returned")
    audit.note("token 1", "weigh", 3, None, "returned")
    audit.close()
    found = files_in(tmp_path)
    assert {name: [json.loads(line)["call"] for line in lines] for name, lines in found.items()} == {
        "audit.1": [1, 2],
        "audit": [3],
    }


def test_pipe_that_nobody_reads_keeps_no_task_waiting(tmp_path, caplog):
    path = str(tmp_path / "pipe")
    os.mkfifo(path)
    with pytest.raises(OSError, match="No such device or address"):  # nor the start of a peer
        Audit(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    audit = Audit(path)
    for number in range(1000):
        audit.note("token 1", "weigh", number, None, "returned")
    audit.close()
    read = os.read(reader, 1 << 20)
    os.close(reader)
    assert [json.loads(line)["call"] for line in read.splitlines()][:100] == list(range(100))
    assert "cannot write tasks to the audit log" in caplog.text
