"""Both parts of the handshake, without a network."""

import itertools
import pickle

import pytest

from tests.tokens import token_for
from woolexec.errors import PeerRefusedError
from woolexec.mesh.security import handshake
from woolexec.mesh.security.handshake import HELLO_KEY, PROOF_KEY, PROTOCOL, WELCOME_KEY, Caller, Door
from woolexec.wire.wire_pb2 import Hello, Welcome

TOKEN, ANOTHER = token_for("the handshake"), token_for("another")
SHOWN, OTHER = b"\1" * 32, b"\2" * 32
"""Fingerprints of certificates."""


def metadata(hello):
    return [("user-agent", "grpc"), (HELLO_KEY, hello)]


def altered(message, kind=Hello, **fields):
    message = kind.FromString(message)
    for name, value in fields.items():
        setattr(message, name, value)
    return message.SerializeToString()


def door_of(token=TOKEN, *fingerprints, **about):
    return Door(token, Welcome(**about), lambda: fingerprints or (b"",))


def opened(caller, door, fingerprint=b""):
    """What the client sends second."""
    return caller.answer(door.greet(metadata(caller.hello)), fingerprint)[1]


def with_proof(opening, proof):
    return [(HELLO_KEY, opening.message), (PROOF_KEY, proof)]


def shake(caller, door, fingerprint=b""):
    opening = opened(caller, door, fingerprint)
    admitted = door.admit(opening.metadata)
    return opening.check(door.welcome(admitted)), admitted.hello


@pytest.mark.parametrize("fingerprint", [b"", SHOWN])
@pytest.mark.parametrize("token", [TOKEN, None])
def test_ends_that_fit_come_to_know_each_other(token, fingerprint):
    caller = Caller(token, "team", b"session", "ada", 1)
    welcome, hello = shake(caller, door_of(token, fingerprint, identity="me", workers=3, pool="team"), fingerprint)
    assert (welcome.identity, welcome.workers, welcome.pool) == ("me", 3, "team")
    assert (hello.session, hello.client, hello.hops) == (b"session", "ada", 1)
    assert hello.pid > 0
    assert welcome.clock > 0


def test_token_does_not_travel():
    caller, door = Caller(TOKEN), door_of()
    data = door.greet(metadata(caller.hello))
    opening = caller.answer(data)[1]
    sent = [caller.hello, data, opening.metadata, door.welcome(door.admit(opening.metadata)), opening]
    assert TOKEN not in pickle.dumps(sent[:-1])
    assert repr(TOKEN) not in repr(sent)


def test_greeting_is_the_same_whatever_the_token_is(monkeypatch):
    monkeypatch.setattr(handshake.secrets, "token_bytes", bytes)
    monkeypatch.setattr(handshake, "monotonic", lambda: 7.0)
    stranger = metadata(Caller(None).hello)
    greetings = {door_of(token, SHOWN, identity="me").greet(stranger) for token in (TOKEN, ANOTHER, None)}
    assert len(greetings) == 1


def test_stranger_is_told_only_what_tells_whether_both_ends_fit():
    door = door_of(TOKEN, workers=3, pool="team", tag=["gpu=1"], identity="me")
    told = Welcome.FromString(door.greet(metadata(Caller(None).hello)))
    assert {field.name for field, _ in told.ListFields()} == {"protocol", "python", "cloudpickle", "nonce", "identity"}


def test_client_tells_nothing_of_itself_before_the_peer_has_answered():
    told = Hello.FromString(Caller(TOKEN, "team", b"session", "ada", 1).hello)
    assert {field.name for field, _ in told.ListFields()} == {"protocol", "python", "cloudpickle", "nonce"}


@pytest.mark.parametrize("theirs", [ANOTHER, None])
def test_peer_that_does_not_have_the_token_is_refused(theirs):
    opening = opened(Caller(TOKEN), door := door_of(theirs, SHOWN), SHOWN)
    admitted = handshake.Admitted(Hello(), opening._connection)  # it admits anyone
    with pytest.raises(PeerRefusedError, match="the peer has not proved that it has the token"):
        opening.check(door.welcome(admitted))


@pytest.mark.parametrize("proof", [b"", bytes(32), "text", None])
def test_end_without_a_proof_is_refused(proof):
    door = door_of()
    opening = opened(Caller(TOKEN), door)
    with pytest.raises(PeerRefusedError, match="the client has not proved"):
        door.admit(with_proof(opening, proof))
    answer = dict(door.welcome(door.admit(opening.metadata)))
    with pytest.raises(PeerRefusedError, match="the peer has not proved"):
        opening.check((answer | {PROOF_KEY: proof}).items())
    with pytest.raises(PeerRefusedError, match="does not speak"):
        opening.check([(PROOF_KEY, answer[PROOF_KEY])])


def test_client_with_another_token_is_not_admitted():
    door = door_of(ANOTHER)
    with pytest.raises(PeerRefusedError, match=r"the client has not proved that it has the token: both .*\)$"):
        door.admit(opened(Caller(TOKEN), door).metadata)


@pytest.mark.parametrize(("shown", "own"), [*itertools.permutations([b"", SHOWN, OTHER], 2)])
def test_proof_for_another_certificate_is_refused_by_both(shown, own):
    """A relay shows the client one certificate, and the peer has another."""
    door = door_of(TOKEN, own)
    opening = opened(Caller(TOKEN), door, shown)
    with pytest.raises(PeerRefusedError, match="the client has not proved that it has the token"):
        door.admit(opening.metadata)
    believing = door_of(TOKEN, shown)  # the proof of a peer that is relayed covers its own certificate
    believing._secret = door._secret
    admitted = believing.admit(opening.metadata)
    relayed = handshake._Connection(own, admitted.connection.callers, admitted.connection.peers)
    with pytest.raises(PeerRefusedError, match="the peer has not proved that it has the token"):
        opening.check(door.welcome(handshake.Admitted(admitted.hello, relayed)))


def test_refusal_over_tls_names_what_may_be_between():
    door = door_of(TOKEN, OTHER)
    with pytest.raises(PeerRefusedError, match="or something between the two ends TLS"):
        door.admit(opened(Caller(TOKEN), door, SHOWN).metadata)


def test_certificate_that_was_just_replaced_counts_for_connections_that_were_made_with_it():
    welcome, _ = shake(Caller(TOKEN), door_of(TOKEN, OTHER, SHOWN, identity="me"), SHOWN)
    assert welcome.identity == "me"


def test_end_cannot_use_the_others_proof():
    door = door_of()
    opening = opened(Caller(TOKEN), door)
    mine = dict(opening.metadata)
    peers = opening._connection.proof(TOKEN, b"peer", opening.message)
    with pytest.raises(PeerRefusedError, match="the client has not proved"):
        door.admit(with_proof(opening, peers))
    answer = dict(door.welcome(door.admit(opening.metadata)))
    with pytest.raises(PeerRefusedError, match="the peer has not proved"):
        opening.check([(WELCOME_KEY, answer[WELCOME_KEY]), (PROOF_KEY, mine[PROOF_KEY])])
    with pytest.raises(PeerRefusedError, match="the peer has not proved"):
        opening.check([(WELCOME_KEY, opening.message), (PROOF_KEY, mine[PROOF_KEY])])


@pytest.mark.parametrize(
    "change", [{"pool": "x"}, {"session": b"x"}, {"client": "bob"}, {"hops": 7}, {"host": "x"}, {"pid": 1}]
)
def test_client_s_message_cannot_be_changed_on_its_way(change):
    door = door_of()
    opening = opened(Caller(TOKEN, session=b"mine"), door)
    proof = dict(opening.metadata)[PROOF_KEY]
    with pytest.raises(PeerRefusedError, match="has not proved"):
        door.admit([(HELLO_KEY, altered(opening.message, **change)), (PROOF_KEY, proof)])


@pytest.mark.parametrize("change", [{"identity": "x"}, {"workers": 9}, {"passage": b"another socket"}])
def test_peer_s_message_cannot_be_changed_on_its_way(change):
    door = door_of(TOKEN, identity="me", workers=1)
    opening = opened(Caller(TOKEN), door)
    answer = dict(door.welcome(door.admit(opening.metadata), b"the socket for descriptors"))
    assert opening.check(answer.items()).passage == b"the socket for descriptors"
    with pytest.raises(PeerRefusedError, match="has not proved"):
        opening.check((answer | {WELCOME_KEY: altered(answer[WELCOME_KEY], Welcome, **change)}).items())


def test_opening_serves_once():
    door = door_of()
    opening = opened(Caller(TOKEN), door)
    door.admit(opening.metadata)
    with pytest.raises(PeerRefusedError, match="unknown, expired or already used"):
        door.admit(opening.metadata)


def test_answer_of_a_peer_serves_for_one_opening_only():
    door = door_of()
    first, second = opened(Caller(TOKEN), door), opened(Caller(TOKEN), door)
    answer = door.welcome(door.admit(first.metadata))
    with pytest.raises(PeerRefusedError, match="the peer has not proved"):
        second.check(answer)


def test_opening_serves_for_a_while_only(monkeypatch):
    door = door_of()
    opening = opened(Caller(TOKEN), door)
    late = handshake.monotonic() + handshake._NONCE_AGE + 1
    monkeypatch.setattr(handshake, "monotonic", lambda: late)
    with pytest.raises(PeerRefusedError, match="expired"):
        door.admit(opening.metadata)


def test_opening_for_another_protocol_is_worth_nothing(monkeypatch):
    door = door_of()
    opening = opened(Caller(TOKEN), door)
    proof = dict(opening.metadata)[PROOF_KEY]
    monkeypatch.setattr(handshake, "PROTOCOL", PROTOCOL + 1)
    with pytest.raises(PeerRefusedError, match="has not proved"):
        door.admit(with_proof(opening, proof))


def test_strangers_leave_nothing_behind_and_take_nothing_from_others():
    door = door_of()
    opening = opened(Caller(TOKEN), door)
    before, stranger = pickle.dumps(vars(door)["_used"]), Caller(ANOTHER).hello
    for _ in range(300):
        door.greet(metadata(stranger))
    assert pickle.dumps(vars(door)["_used"]) == before
    door.admit(opening.metadata)


def test_opening_that_was_refused_does_not_spoil_the_right_one():
    door = door_of()
    opening = opened(Caller(TOKEN), door)
    with pytest.raises(PeerRefusedError, match="has not proved"):
        door.admit(with_proof(opening, b""))
    door.admit(opening.metadata)


@pytest.mark.parametrize("field", ["nonce", "first"])
@pytest.mark.parametrize("value", [bytes(32), bytes(31), b""])
def test_nonce_that_the_peer_has_not_made_is_refused(field, value):
    door = door_of()
    opening = opened(Caller(TOKEN), door)
    with pytest.raises(PeerRefusedError, match=r"unknown, expired or already used|does not speak"):
        door.admit(metadata(altered(opening.message, **{field: value})))
    with pytest.raises(PeerRefusedError, match="unknown, expired or already used"):
        door_of().admit(opening.metadata)


def test_nonces_that_have_served_are_forgotten_when_they_are_old(monkeypatch):
    door, now = door_of(), handshake.monotonic()
    for number in range(100):
        monkeypatch.setattr(handshake, "monotonic", lambda number=number: now + number)
        shake(Caller(TOKEN), door)
    assert len(door._used) <= handshake._NONCE_AGE + 1


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("protocol", 99, f"protocol 99 here, {PROTOCOL} there"),
        ("protocol", 1, f"protocol 1 here, {PROTOCOL} there"),
        ("python", "2.7", "Python 2.7 here, 3.* there"),
        ("cloudpickle", "0.1", "cloudpickle 0.1 here, .* there"),
    ],
)
def test_client_that_does_not_fit_is_refused_and_told_why(field, value, text):
    with pytest.raises(PeerRefusedError, match=text) as caught:
        door_of().greet(metadata(altered(Caller(TOKEN).hello, **{field: value})))
    assert caught.value.is_final


def test_client_of_another_pool_is_refused_once_it_has_proved_who_it_is():
    door = door_of(TOKEN, pool="team")
    text = "pool 'others' is requested, but this peer belongs to pool 'team'"
    with pytest.raises(PeerRefusedError, match=text) as caught:
        door.admit(opened(Caller(TOKEN, "others"), door).metadata)
    assert caught.value.is_final
    with pytest.raises(PeerRefusedError, match="has not proved"):
        door.admit(opened(Caller(ANOTHER, "others"), door).metadata)


def test_peer_that_does_not_fit_is_refused_by_the_client():
    caller, door = Caller(TOKEN), door_of()
    greeting = altered(door.greet(metadata(caller.hello)), Welcome, python="3.99")
    with pytest.raises(PeerRefusedError, match=r"Python 3\.\d+ here, 3\.99 there"):
        caller.answer(greeting)


def test_peer_without_a_whole_nonce_gets_no_proof():
    caller = Caller(TOKEN)
    with pytest.raises(PeerRefusedError, match="does not speak"):
        caller.answer(altered(door_of().greet(metadata(caller.hello)), Welcome, nonce=bytes(31)))


@pytest.mark.parametrize("data", [b"", b"\xff\xff\xff", b"x" * 8000])
def test_garbage_is_refused_by_both(data):
    with pytest.raises(PeerRefusedError):
        door_of().greet(metadata(data))
    with pytest.raises(PeerRefusedError):
        Caller(TOKEN).answer(data)


def test_greeting_without_metadata_is_refused():
    with pytest.raises(PeerRefusedError, match="does not speak"):
        door_of(None).greet([])
