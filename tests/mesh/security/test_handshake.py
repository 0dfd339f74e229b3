"""Both parts of the handshake, without a network."""

import pickle

import pytest

from woolexec.errors import PeerRefusedError
from woolexec.mesh.security import handshake
from woolexec.mesh.security.handshake import HELLO_KEY, Caller, Door
from woolexec.wire.wire_pb2 import Hello, Welcome

TOKEN = b"0123456789abcdef"


def metadata(hello):
    return [("user-agent", "grpc"), (HELLO_KEY, hello)]


def altered(hello, **fields):
    message = Hello.FromString(hello)
    for name, value in fields.items():
        setattr(message, name, value)
    return message.SerializeToString()


def shake(caller, door):
    welcome, opening = caller.answer(door.greet(metadata(caller.hello)))
    return welcome, opening


@pytest.mark.parametrize("token", [TOKEN, None])
def test_ends_that_fit_come_to_know_each_other(token):
    caller, door = Caller(token), Door(token, Welcome(identity="me", workers=3, pool="team"))
    welcome, opening = shake(caller, door)
    assert (welcome.identity, welcome.workers, welcome.pool) == ("me", 3, "team")
    assert door.admit(metadata(opening)).pid > 0


def test_token_does_not_travel():
    caller, door = Caller(TOKEN), Door(TOKEN, Welcome())
    data = door.greet(metadata(caller.hello))
    _, opening = caller.answer(data)
    assert TOKEN not in caller.hello + data + opening


@pytest.mark.parametrize("theirs", [b"another token, not ours", None])
def test_peer_that_does_not_have_the_token_gets_no_proof(theirs):
    caller, door = Caller(TOKEN), Door(theirs, Welcome())
    with pytest.raises(PeerRefusedError, match="has not proved"):
        shake(caller, door)


@pytest.mark.parametrize("proof", [b"", b"\0" * 32])
def test_client_that_does_not_have_the_token_is_not_admitted(proof):
    caller, door = Caller(TOKEN), Door(TOKEN, Welcome())
    _, opening = shake(caller, door)
    with pytest.raises(PeerRefusedError, match="has not proved"):
        door.admit(metadata(altered(opening, proof=proof)))


def test_client_cannot_use_the_peers_own_proof():
    caller, door = Caller(TOKEN), Door(TOKEN, Welcome())
    data = door.greet(metadata(caller.hello))
    _, opening = caller.answer(data)
    with pytest.raises(PeerRefusedError, match="has not proved"):
        door.admit(metadata(altered(opening, proof=Welcome.FromString(data).proof)))


def test_opening_serves_once():
    caller, door = Caller(TOKEN), Door(TOKEN, Welcome())
    _, opening = shake(caller, door)
    door.admit(metadata(opening))
    with pytest.raises(PeerRefusedError, match="unknown, expired or already used"):
        door.admit(metadata(opening))


def test_opening_serves_for_a_while_only(monkeypatch):
    caller, door = Caller(TOKEN), Door(TOKEN, Welcome())
    _, opening = shake(caller, door)
    late = handshake.monotonic() + handshake._NONCE_AGE + 1
    monkeypatch.setattr(handshake, "monotonic", lambda: late)
    with pytest.raises(PeerRefusedError, match="expired"):
        door.admit(metadata(opening))


def test_strangers_leave_nothing_behind_and_take_nothing_from_others():
    caller, door = Caller(TOKEN), Door(TOKEN, Welcome())
    _, opening = shake(caller, door)
    before, stranger = pickle.dumps(vars(door)["_used"]), Caller(b"no token").hello
    for _ in range(3000):
        door.greet(metadata(stranger))
    assert pickle.dumps(vars(door)["_used"]) == before
    door.admit(metadata(opening))


def test_opening_that_was_refused_does_not_spoil_the_right_one():
    caller, door = Caller(TOKEN), Door(TOKEN, Welcome())
    _, opening = shake(caller, door)
    with pytest.raises(PeerRefusedError, match="has not proved"):
        door.admit(metadata(altered(opening, proof=b"")))
    door.admit(metadata(opening))


@pytest.mark.parametrize("field", ["nonce", "first"])
def test_nonce_that_the_peer_has_not_made_is_refused(field):
    caller, door = Caller(TOKEN), Door(TOKEN, Welcome())
    _, opening = shake(caller, door)
    with pytest.raises(PeerRefusedError, match="unknown, expired or already used"):
        door.admit(metadata(altered(opening, **{field: bytes(32)})))
    with pytest.raises(PeerRefusedError, match="unknown, expired or already used"):
        Door(TOKEN, Welcome()).admit(metadata(opening))


def test_nonces_that_have_served_are_forgotten_when_they_are_old(monkeypatch):
    door, now = Door(TOKEN, Welcome()), handshake.monotonic()
    for number in range(100):
        monkeypatch.setattr(handshake, "monotonic", lambda number=number: now + number)
        _, opening = shake(Caller(TOKEN), door)
        door.admit(metadata(opening))
    assert len(door._used) <= handshake._NONCE_AGE + 1


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("protocol", 99, "protocol 99 here, 1 there"),
        ("python", "2.7", "Python 2.7 here, 3.* there"),
        ("cloudpickle", "0.1", "cloudpickle 0.1 here, .* there"),
        ("pool", "others", "pool 'others' is requested, but this peer belongs to pool 'team'"),
    ],
)
def test_client_that_does_not_fit_is_refused_and_told_why(field, value, text):
    door = Door(TOKEN, Welcome(pool="team"))
    with pytest.raises(PeerRefusedError, match=text):
        door.greet(metadata(altered(Caller(TOKEN).hello, **{field: value})))


def test_peer_that_does_not_fit_is_refused_by_the_client():
    caller, door = Caller(TOKEN), Door(TOKEN, Welcome())
    door._welcome.python = "3.99"
    door._check = lambda hello: None
    with pytest.raises(PeerRefusedError, match=r"Python 3\.\d+ here, 3\.99 there"):
        shake(caller, door)


@pytest.mark.parametrize("data", [b"", b"\xff\xff\xff", b"x" * 8000])
def test_garbage_is_refused_by_both(data):
    with pytest.raises(PeerRefusedError):
        Door(TOKEN, Welcome()).greet(metadata(data))
    with pytest.raises(PeerRefusedError):
        Caller(TOKEN).answer(data)


def test_greeting_without_metadata_is_refused():
    with pytest.raises(PeerRefusedError, match="does not speak"):
        Door(None, Welcome()).greet([])
