from woolexec.core.memory_limits import MemoryLimits
from woolexec.core.upkeep import Upkeep
from woolexec.engine.peer_upkeep import PeerUpkeep, Rules, taken
from woolexec.wire.frames import Settings


def test_variables_of_the_loader_the_interpreter_and_woolexec_are_not_taken():
    given = ["A=1", "B=", "LD_PRELOAD=x", "DYLD_LIBRARY_PATH=x", "PYTHONPATH=x", "WOOLEXEC_WORKER_ALLOWS=x", "=x", "C"]
    assert taken([*given, "D=\0", "E=a=b"]) == {"A": "1", "B": "", "E": "a=b"}


def test_what_a_client_says_is_told_to_peers_and_passed_on(make_engine):
    client, peer = PeerUpkeep(make_engine().rounds), PeerUpkeep(make_engine().rounds)
    client.tell(Upkeep(MemoryLimits(1, 2), 3.0, 4), {"A": "1"}, b"finalizer")
    said = client.settings()
    assert said.environment == ("A=1",)
    assert (said.max_memory_per_child, said.memory_limit, said.idle_timeout, said.min_workers) == (1, 2, 3.0, 4)
    peer.use(said)
    passed_on = peer.settings()
    for name in ("environment", "max_memory_per_child", "memory_limit", "idle_timeout", "min_workers", "finalizer"):
        assert getattr(passed_on, name) == getattr(said, name), name


def test_lower_limit_of_client_and_operator_holds(make_engine):
    engine = make_engine()
    upkeep = PeerUpkeep(engine.rounds)
    upkeep.obey(Rules(MemoryLimits(None, 100)))
    upkeep.use(Settings(memory_limit=200, max_memory_per_child=50))
    (watch,) = engine.supervisor.watches
    assert (watch._limits.replace_above, watch._limits.end_above) == (50, 100)


def test_variables_are_set_unless_the_operator_forbids_it(make_engine):
    engine = make_engine()
    engine.supervisor.settings_of_user = {"environment": {"FOLDER": "own"}}
    upkeep = PeerUpkeep(engine.rounds)
    upkeep.use(Settings(environment=("A=1", "FOLDER=other")))
    assert engine.supervisor.settings_of_user["environment"] == {"A": "1", "FOLDER": "own"}
    upkeep.obey(Rules(takes_environment=False))
    upkeep.use(Settings(environment=("B=1",)))
    assert "B" not in engine.supervisor.settings_of_user["environment"]
