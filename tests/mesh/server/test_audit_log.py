"""What a peer writes down of the tasks that it has run."""

import json
import os
import stat

from tests.mesh import tasks
from tests.mesh.conftest import CREDENTIALS, PATIENCE, eventually, joined
from woolexec import WorkerLostError
from woolexec.mesh.server.audit_log import Audit
from woolexec.mesh.server.peer import Peer


def test_audit_says_who_ran_what_when_and_how_it_ended(tmp_path):
    clock = iter(range(1_700_000_000, 1_700_001_000)).__next__
    audit = Audit(str(tmp_path / "audit"), clock=lambda: float(clock()))
    with Peer(1, credentials=CREDENTIALS, audit=audit) as peer, joined(peer) as pool:
        assert pool.submit(tasks.weigh, b"a secret").result(PATIENCE) == 8
        assert isinstance(pool.submit(tasks.weigh, 3).exception(PATIENCE), TypeError)
        assert isinstance(pool.with_options(name="the end").submit(os._exit, 3).exception(PATIENCE), WorkerLostError)
        held = pool.submit(tasks.hold, tmp_path, "held")
        eventually(held.running)
        assert pool._engine.cancel(held, force=True)
    audit.close()
    lines = [json.loads(line) for line in (tmp_path / "audit").read_text().splitlines()]
    assert stat.S_IMODE((tmp_path / "audit").stat().st_mode) == 0o600
    assert "secret" not in (tmp_path / "audit").read_text()
    assert {line["client"] for line in lines} == {f"{os.uname().nodename}:{os.getpid()}"}
    assert [(line["task"], line["outcome"]) for line in lines] == [
        ("weigh", "returned"),
        ("weigh", "raised builtins:TypeError"),
        ("the end", "raised woolexec.errors:WorkerLostError"),
        ("hold", "cancelled"),
    ]
    assert all(line["started"] is not None and "2023-11-14T22:" in line["ended"] for line in lines)
    assert list(lines[0]) == ["client", "task", "call", "started", "ended", "outcome"]


def test_task_ends_although_it_cannot_be_written_down(tmp_path, caplog):
    audit = Audit(str(tmp_path / "audit"))
    with open("/dev/full", "wb") as full:
        os.dup2(full.fileno(), audit._fd, inheritable=False)
    with Peer(1, credentials=CREDENTIALS, audit=audit) as peer, joined(peer) as pool:
        assert [pool.submit(tasks.weigh, b"12").result(PATIENCE) for _ in range(5)] == [2] * 5
        assert peer._places.admission.free == 1
    audit.close()
    assert [record.getMessage() for record in caplog.records if "audit log" in record.getMessage()] == [
        "cannot write tasks to the audit log: [Errno 28] No space left on device"
    ]
