"""
Canary secrets are used in every possible way, and searched for wherever others could find them.

A canary is made from a word when the tests run, so no line of source that a traceback shows holds one.
"""

import asyncio
import base64
import contextlib
import hashlib
import json
import logging
import multiprocessing
import os
import pickle
import pprint
import signal
import stat
import subprocess
import sys
import threading
import traceback
from functools import partial
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.marks import slow
from tests.mesh import fake_ssh, tasks
from tests.mesh.conftest import PATIENCE, eventually
from tests.tokens import token_for
from woolexec import Credentials, CredentialsError, NoPeersError, PeerPoolExecutor, PeerRefusedError, cli
from woolexec.cli.local_peers import local_peers
from woolexec.discovery import ssh
from woolexec.discovery.base import Discovery, Record
from woolexec.discovery.directory import Directory
from woolexec.discovery.ssh import Ssh
from woolexec.mesh.client.doctor import look
from woolexec.mesh.security.certificate_authority import Authority
from woolexec.mesh.security.tls import Tls
from woolexec.mesh.server.peer import Peer

linux = pytest.mark.linux


def canary(word):
    return f"canary-{word.replace(' ', '-')}-{hashlib.sha1(word.encode()).hexdigest()}"


TOKEN, OTHER = (token_for(canary(word)).decode() for word in ("token", "another token"))
SHORT = TOKEN[-15:]
"""Too short to be a token."""

ENVIRONMENT = "__import__('os').environ.copy()"


def forms(secret):
    """What a secret may look like where it does not belong; case does not count."""
    data = secret.encode()
    coded = [base64.b64encode(b"\0" * n + data)[4 * bool(n) : -4] for n in range(3)]
    return [form.lower() for form in (data, data.hex().encode(), data.hex(" ").encode(), *coded)]


def found(places, secrets):
    """Return each place with each of the secrets in it."""
    texts = {place: (text if isinstance(text, bytes) else str(text).encode()).lower() for place, text in places.items()}
    wanted = {secret: forms(secret) for secret in secrets}
    assert texts
    assert wanted
    return sorted((p, s) for p, text in texts.items() for s in wanted if any(form in text for form in wanted[s]))


def processes(pid, name="peer"):
    """What can be read of a process, and of all below it: the first one's first child is ``peer/0/0``."""
    seen = {}
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended
        seen = {f"{what} of {name}": Path(f"/proc/{pid}/{what}").read_bytes() for what in ("cmdline", "environ")}
        children = " ".join((task / "children").read_text() for task in Path(f"/proc/{pid}/task").iterdir())
        for n, child in enumerate(children.split()):
            seen |= processes(child, f"{name}/{n}")
    return seen


def secret_file(path, text=TOKEN, mode=0o600):
    path.write_text(text)
    path.chmod(mode)
    return path


class Served:
    """A peer as a user starts it, and what there is to see of it when it has ended."""

    def __init__(self, room, process):
        self.room = room
        self.process = process
        self.line = process.stdout.readline()
        self.address = json.loads(self.line)["address"]
        self.seen = {}

    @property
    def log(self):
        return (self.room / "stderr").read_text(errors="replace")

    def look(self):
        """Look at its processes while a client is there; the workers end with it."""
        self.seen |= processes(self.process.pid)

    def end(self):
        for path in (self.room / "announced").glob("*.json"):
            self.seen["record"] = path.read_bytes()
        self.seen |= processes(self.process.pid)
        self.process.terminate()
        self.seen["stdout"] = self.line + self.process.communicate(timeout=PATIENCE)[0]
        self.seen |= {name: (self.room / name).read_bytes() for name in ("stderr", "audit")}


@contextlib.contextmanager
def serving(room, *settings, told="", **variables):
    """Start ``woolexec serve`` with these settings, text on stdin and variables."""
    (room / "announced").mkdir()
    command = [sys.executable, "-m", "woolexec", "serve", "--bind=127.0.0.1:0", "--workers=1", "--json"]
    command += [f"--audit={room}/audit", f"--announce=dir:{room}/announced", *settings]
    environment = {**os.environ, **variables}
    with (
        open(room / "stderr", "wb") as stderr,
        subprocess.Popen(command, stdin=-1, stdout=-1, stderr=stderr, env=environment) as process,
    ):
        try:
            process.stdin.write(told.encode())
            process.stdin.flush()
            served = Served(room, process)
            yield served
            served.end()
        finally:
            if process.poll() is None:
                process.kill()


@pytest.fixture(autouse=True)
def room(monkeypatch, tmp_path):
    (tmp_path / "state").mkdir(mode=0o700)
    monkeypatch.setenv("WOOLEXEC_STATE", str(tmp_path / "state"))
    return tmp_path


@pytest.fixture
def journal(caplog, capfd):
    """All that this process logs or prints, by whatever logger or library; call it to look."""
    caplog.set_level(logging.DEBUG)
    said = []

    def look_into():
        said.extend(capfd.readouterr())
        records = [f"{record.getMessage()} {vars(record)}" for record in caplog.records]
        return {"log": caplog.text + "\n".join(records), "stdout and stderr": "".join(said)}

    return look_into


def authority_in(folder):
    made = Authority.make(folder, name=folder.name)
    for role in ("peer", "client"):
        made.issue(role)
    return folder


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The certificates of two authorities, and files with canaries where they do not belong."""
    folder = tmp_path_factory.mktemp("files")
    for name in ("ours", "theirs"):
        authority_in(folder / name)
    for name, text, mode in (
        ("malformed", f"-----BEGIN PRIVATE KEY-----\n{canary('key')}\n-----END PRIVATE KEY-----", 0o600),
        ("malformed-ec", f"-----BEGIN EC PRIVATE KEY-----\n{canary('key')}\n-----END EC PRIVATE KEY-----", 0o600),
        ("token", TOKEN, 0o600),
        ("short-token", SHORT, 0o600),
        ("open-token", OTHER, 0o644),
    ):
        secret_file(folder / name, text, mode)
    return folder


def tls(folder, role):
    return Tls(*(str(folder / name) for name in ("ca.pem", f"{role}.pem", f"{role}.key")))


def tls_settings(folder):
    return [f"--tls-ca={folder}/ca.pem", f"--tls-cert={folder}/peer.pem", f"--tls-key={folder}/peer.key"]


def keys(folder):
    """What tells the private keys below a folder: the lines of each file, and the number that it is."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    secrets = []
    for path in folder.rglob("*.key"):
        value = load_pem_private_key(path.read_bytes(), None).private_numbers().private_value
        secrets += [*path.read_text().splitlines()[1:-1], f"{value}", f"{value:064x}"]
    assert secrets
    return secrets


def reasons(peers):
    """Why there are no peers, as far as it is known."""
    return [*(each.trouble for each in peers._finders), *(each.reason for each in peers._attempts.candidates)]


def turned_away(where, given, name=""):
    """Return the errors of a client that gets no peer, once it knows why; the reason holds the name."""
    with PeerPoolExecutor(peers=where, credentials=given, peers_timeout=0.01) as pool:
        eventually(lambda: any(reason and name in reason for reason in reasons(pool._peers)))
        with pytest.raises(TimeoutError) as late:
            pool.wait_for_peers(1, 0)
        errors = [late.value, pool.submit(abs, -1).exception(PATIENCE)]
    assert isinstance(errors[1], NoPeersError)
    return errors


def told_by(exc):
    """All that an exception tells, with its causes, and what it takes along when it travels."""
    lone = traceback.TracebackException.from_exception(exc, capture_locals=True).format_exception_only()
    texts = ["".join(traceback.format_exception(exc)), *lone]
    while exc is not None:
        texts += [repr(exc), repr(exc.args), repr(vars(exc)), repr(pickle.dumps((exc.args, vars(exc))))]
        exc = exc.__cause__ or exc.__context__
    return "\n".join(texts)


# -- the search --------------------------------------------------------------------------------------------------------


CLOTHES = {
    "plain": str,
    "upper": str.upper,
    "hex": lambda text: text.encode().hex(),
    "dump": lambda text: text.encode().hex(" "),
    "repr": ascii,
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 with one before": lambda text: base64.b64encode(f"x{text}".encode()).decode(),
    "base64 with two before": lambda text: base64.b64encode(f"xx{text}yyy".encode()).decode(),
}


@pytest.mark.parametrize("clothes", CLOTHES)
def test_search_finds_a_secret_in_whatever_clothes(clothes):
    places = {"here": f"before {CLOTHES[clothes](TOKEN)} after", "there": b"nothing"}
    assert found(places, [OTHER, TOKEN]) == [("here", TOKEN)]


@linux
def test_search_finds_what_is_planted_in_a_process_below():
    # `; :` keeps the shell from becoming the other one.
    inner = ["/bin/sh", "-c", "read line; :", canary("argument")]
    command = ["/bin/sh", "-c", '"$@"; :', "sh", *inner]
    with subprocess.Popen(command, stdin=-1, env={"SECRET": canary("environment")}) as process:
        begun = "\0".join(inner[:3]).encode()  # before that it is still the outer one, or nothing
        eventually(lambda: processes(process.pid).get("cmdline of peer/0", b"").startswith(begun))
        seen = processes(process.pid)
        process.stdin.close()
    for what, name in (("cmdline", "argument"), ("environ", "environment")):
        assert found(seen, [canary(name)]) == [(f"{what} of {each}", canary(name)) for each in ("peer", "peer/0")]


@pytest.mark.slow
@linux
def test_search_finds_what_is_planted_in_each_place_of_a_peer(room):
    with serving(room, f"--tag=public={canary('tag')}", SECRET=canary("environment")) as peer:
        with PeerPoolExecutor(peers=peer.address, output=None) as pool:
            peer.seen["task"] = pool.submit(eval, ENVIRONMENT).result(PATIENCE)
            for fd, name in ((1, "stdout"), (2, "stderr")):
                pool.submit(os.write, fd, canary(name).encode()).result(PATIENCE)
            pool.with_options(name=canary("audit")).submit(abs, -1).result(PATIENCE)
            peer.look()
    workers = [f"environ of {name}" for name in ("peer", "peer/0", "peer/0/0")]
    for name, places in {
        "environment": [*workers, "task"],
        "tag": ["cmdline of peer", "record"],
        "stdout": ["stdout"],
        "stderr": ["stderr"],
        "audit": ["audit"],
    }.items():
        assert found(peer.seen, [canary(name)]) == [(place, canary(name)) for place in places]


def test_search_finds_what_is_planted_in_an_error_its_cause_a_log_and_a_file_of_this_process(journal):
    try:
        try:
            raise KeyError(TOKEN)
        except KeyError as exc:
            raise LookupError("something else") from exc
    except LookupError as exc:
        caught = exc
    caught.add_note(OTHER)
    logging.getLogger("a library").debug("%s", TOKEN)
    os.write(2, OTHER.encode())
    assert found({"error": told_by(caught)} | journal(), [TOKEN, OTHER]) == [
        ("error", OTHER),
        ("error", TOKEN),
        ("log", TOKEN),
        ("stdout and stderr", OTHER),
    ]


def test_search_knows_a_private_key(files):
    places = {path.name: path.read_bytes() for path in (files / "ours").iterdir()}
    assert {place for place, _ in found(places, keys(files))} == {"ca.key", "peer.key", "client.key"}


# -- a peer ------------------------------------------------------------------------------------------------------------


def token_by(how, room):
    """Return the settings, the text on stdin, and the variables by which a peer is given the token."""
    path = secret_file(room / "token", f"{TOKEN}\n")
    if how == "argument":
        return [f"--token-file={path}"], "", {}
    if how == "stdin":
        return ["--token-file=-"], f"{TOKEN}\n", {}
    if how == "environment":
        return [], "", {"WOOLEXEC_TOKEN_FILE": str(path)}
    if how == "config":
        (room / "peer.toml").write_text(f'token-file = "{path}"')
        return [f"--config={room}/peer.toml"], "", {}
    assert how == "default"
    path.rename(room / "state" / "token")
    return [], "", {}


@linux
@pytest.mark.parametrize("how", ["stdin", "config", *slow("argument", "environment", "default")])
def test_token_of_a_peer_is_nowhere_that_others_look(how, room):
    settings, told, variables = token_by(how, room)
    with serving(room, *settings, told=told, PYTHONASYNCIODEBUG="1", **variables) as peer:
        with PeerPoolExecutor(peers=f"dir:{room}/announced", credentials=Credentials(TOKEN.encode())) as pool:
            peer.seen["task"] = pool.submit(eval, ENVIRONMENT).result(PATIENCE)
            assert isinstance(pool.submit(int, "x").exception(PATIENCE), ValueError)
            peer.look()
        turned_away(peer.address, Credentials(OTHER.encode()))
    assert {"cmdline of peer/0/0", "environ of peer/0/0", "record", "stdout", "stderr", "task"} <= peer.seen.keys()
    assert not found(peer.seen, [TOKEN, OTHER])


@pytest.mark.slow
@linux
@pytest.mark.parametrize("variables", [{}, {"GRPC_VERBOSITY": "debug", "GRPC_TRACE": "all"}], ids=["plain", "traced"])
def test_key_of_a_peer_is_nowhere_that_others_look(variables, room, files):
    settings = [*tls_settings(files / "ours"), "--token-file=-"]
    with serving(room, *settings, told=f"{TOKEN}\n", **variables) as peer:
        given = Credentials(TOKEN.encode(), tls(files / "ours", "client"))
        with PeerPoolExecutor(peers=f"dir:{room}/announced", credentials=given) as pool:
            peer.seen["task"] = pool.submit(eval, ENVIRONMENT).result(PATIENCE)
        for wrong in (tls(files / "theirs", "client"), Tls(str(files / "ours" / "ca.pem"))):
            turned_away(peer.address, Credentials(OTHER.encode(), wrong))
    assert (len(peer.seen["stderr"]) > 10_000) is bool(variables)  # grpc tells all that it does
    assert not found(peer.seen, [TOKEN, OTHER, *keys(files)])


@linux
def test_key_that_takes_the_place_of_another_and_cannot_be_used_is_not_quoted_in_the_log(room):
    folder = room / "certificates"
    secrets = keys(authority_in(folder))
    with serving(room, *tls_settings(folder)) as peer:
        secret_file(folder / "peer.key", f"-----BEGIN PRIVATE KEY-----\n{canary('key')}\n-----END PRIVATE KEY-----\n")
        with PeerPoolExecutor(peers=peer.address, credentials=Credentials(tls=tls(folder, "client"))) as pool:
            assert pool.submit(abs, -1).result(PATIENCE) == 1
        eventually(lambda: "cannot be used" in peer.log)
    assert not found(peer.seen, [canary("key"), *secrets])


@linux
def test_peer_that_is_refused_by_another_one_says_so_without_its_token(room):
    path = secret_file(room / "token")
    with Peer(1, credentials=Credentials(OTHER.encode())) as other:
        with serving(room, f"--token-file={path}", f"--peers={other.address}") as peer:
            with PeerPoolExecutor(peers=peer.address, credentials=Credentials(TOKEN.encode())) as pool:
                assert pool.submit(tasks.nest_with, {}).result(PATIENCE)
                eventually(lambda: "the client has not proved that it has the token" in peer.log)
    assert not found(peer.seen, [TOKEN, OTHER])


@pytest.mark.slow
@pytest.mark.parametrize("how", ["environment", "config", "text without quotes", "config that is the token's file"])
def test_token_where_no_token_belongs_is_refused_and_not_quoted(how, room, monkeypatch, capfd):
    texts = {"config": f'token = "{TOKEN}"', "text without quotes": f"token-file = {TOKEN}"}
    config = secret_file(room / "peer.toml", texts.get(how, TOKEN))
    if how == "environment":
        monkeypatch.setenv("WOOLEXEC_TOKEN", TOKEN)
        assert cli.main(["serve"]) == 2
    else:
        assert cli.main(["serve", f"--config={config}"]) == 2
    said = capfd.readouterr()
    assert said.err.startswith("woolexec serve: ")
    assert not found({"said": said}, [TOKEN])


def test_peer_that_cannot_listen_says_so_without_its_secrets(files):
    settings = [*tls_settings(files / "ours"), f"--token-file={files}/token"]
    with Peer(1, bind="127.0.0.1:0", credentials=Credentials(OTHER.encode())) as first:
        # Not in this process: a log at DEBUG would keep a server of grpc's that is being freed, and crash.
        command = [sys.executable, "-m", "woolexec", "serve", f"--bind={first.address}", "--workers=1", *settings]
        ran = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False)
    assert ran.returncode == 1
    assert b"is another peer there?" in ran.stderr
    assert not found({"stdout": ran.stdout, "stderr": ran.stderr}, [TOKEN, OTHER, *keys(files)])


# -- what tasks are given and give -------------------------------------------------------------------------------------


class Unpicklable:
    """Fails in the worker, with what it holds in the error."""

    def __init__(self, text):
        self.text = text

    def __reduce__(self):
        return int, (self.text,)


def converse(pool, room, text):
    with pool.stream(tasks.echo, room / "ended") as stream:
        next(stream)
        return stream.send(text)


def initialize(address, initializer, text):
    with PeerPoolExecutor(peers=address, initializer=initializer, initargs=(text,)) as pool:
        return pool.submit(abs, -1).exception(PATIENCE)


WAYS = {
    "argument": lambda pool, text: pool.submit(str.upper, text).result(PATIENCE),
    "keyword": lambda pool, text: pool.submit(dict, secret=text).result(PATIENCE),
    "partial": lambda pool, text: pool.submit(partial(str.upper, text)).result(PATIENCE),
    "closure": lambda pool, text: pool.submit(lambda: text.upper()).result(PATIENCE),
    "method": lambda pool, text: pool.submit(text.upper).result(PATIENCE),
    "item": lambda pool, text: list(pool.map(str.upper, [text] * 99)),
    "large": lambda pool, text: pool.submit(bytes.upper, text.encode() * 50_000).result(PATIENCE)[:100],
    "coroutine": lambda pool, text: pool.submit(tasks.add, text, "!").result(PATIENCE),
    "exception": lambda pool, text: pool.submit(int, text).exception(PATIENCE),
    "exception of a coroutine": lambda pool, text: pool.submit(tasks.raise_async, text).exception(PATIENCE),
    "failure to unpickle": lambda pool, text: pool.submit(abs, Unpicklable(text)).exception(PATIENCE),
    "failure to pickle": lambda pool, text: pool.submit(eval, f"{text!r}, (i for i in '')").exception(PATIENCE),
    "end of the worker": lambda pool, text: pool.submit(eval, f"__import__('os').abort()  # {text}").exception(
        PATIENCE
    ),
    "timeout": lambda pool, text: (
        pool.with_options(timeout=0.1).submit(eval, f"__import__('time').sleep(99)  # {text}").exception(PATIENCE)
    ),
    "log": lambda pool, text: pool.submit(eval, f"__import__('logging').error({text!r})").result(PATIENCE),
}
"""Each by the outcome that its client gets."""


@pytest.mark.slow
@linux
def test_what_tasks_are_given_and_give_is_not_in_the_logs_of_their_peer(room, journal):
    with serving(room, PYTHONASYNCIODEBUG="1") as peer:
        with PeerPoolExecutor(peers=peer.address) as pool:
            outcomes = {name: way(pool, canary(name)) for name, way in WAYS.items()}
            outcomes["stream"] = converse(pool, room, canary("stream"))
            eventually(lambda: found(journal(), [canary("log")]))
        outcomes["initializer"] = initialize(peer.address, len, canary("initializer"))
        outcomes["failed initializer"] = initialize(peer.address, int, canary("failed initializer"))
    lines = peer.seen["audit"].splitlines()
    assert len(lines) >= len(outcomes)
    assert not found(peer.seen, map(canary, outcomes))
    # They have arrived, or ended what was to end.
    silent = {"failure to pickle", "end of the worker", "timeout", "log", "initializer"}
    arrived = {name for name, outcome in outcomes.items() if found({"": repr(outcome).encode()}, [canary(name)])}
    assert arrived == outcomes.keys() - silent


@linux
def test_argument_that_is_refused_by_a_list_is_not_in_the_logs_of_the_peer(room):
    with serving(room, "--allow=builtins:len") as peer, PeerPoolExecutor(peers=peer.address) as pool:
        assert pool.submit(len, TOKEN).result(PATIENCE) == len(TOKEN)
        for call in (partial(pool.submit, len, Unpicklable(TOKEN)), partial(pool.submit, str.upper, TOKEN)):
            assert isinstance(call().exception(PATIENCE), pickle.UnpicklingError)
    assert not found(peer.seen, [TOKEN])


def log_when_the_call_is_over(room, text):
    def log():
        eventually((room / "over").exists)
        logging.getLogger("a library").error("%s", text)
        (room / "logged").touch()

    threading.Thread(target=log).start()


def log_when_the_call_is_cancelled(room, text):
    def log(*_):
        logging.getLogger("a library").error("%s", text)
        (room / "logged").touch()
        os._exit(0)

    signal.signal(signal.SIGTERM, log)
    tasks.hold(room, "held")


async def have_the_event_loop_log(room, text):
    asyncio.get_running_loop().call_soon(int, text)  # asyncio logs what it raises
    await asyncio.sleep(0)
    (room / "logged").touch()


@linux
@pytest.mark.parametrize(
    "task", [log_when_the_call_is_over, *slow(log_when_the_call_is_cancelled, have_the_event_loop_log)]
)
def test_what_is_logged_outside_of_a_call_is_not_in_the_log_of_the_peer(task, room):
    with serving(room) as peer, PeerPoolExecutor(peers=peer.address) as pool:
        future = pool.submit(task, room, canary("argument"))
        if task is log_when_the_call_is_cancelled:
            eventually((room / "held").exists)
            future.cancel(force=True)
        else:
            future.result(PATIENCE)
            (room / "over").touch()
        eventually((room / "logged").exists)
        assert pool.submit(abs, -1).result(PATIENCE) == 1  # what the worker said before has been heard
    assert not found(peer.seen, [canary("argument")])


# -- a client ----------------------------------------------------------------------------------------------------------


SHOWS = {"repr": repr, "str": str, "format": format, "pprint": partial(pprint.pformat, width=1)}


@pytest.mark.parametrize("how", SHOWS)
def test_nothing_shows_a_secret_that_it_has(how, files):
    client = Credentials(TOKEN.encode(), tls(files / "ours", "client"))
    with Peer(1, credentials=Credentials(TOKEN.encode(), tls(files / "ours", "peer"))) as peer:
        with PeerPoolExecutor(peers=peer.address, credentials=client) as pool:
            future = pool.submit(abs, -1)
            assert future.result(PATIENCE) == 1
            things = [client, client.tls, Record("key", ("host:1",), credentials=client), future, peer, vars(peer)]
            things += [pool, pool.with_options(name="task"), vars(pool), pool._peers, vars(pool._peers)]
            shown = [SHOWS[how](thing) for thing in things]
            del things, future
    assert [text.count("Credentials(") for text in shown] == [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]
    assert not found(dict(enumerate(shown)), [TOKEN, *keys(files)])


WRONG = {
    "wrong token": (OTHER, "ours/ca.pem", "ours/client.pem", "ours/client.key"),
    "no certificate": (TOKEN, "ours/ca.pem"),
    "another authority": (TOKEN, "theirs/ca.pem", "theirs/client.pem", "theirs/client.key"),
    "no TLS": (TOKEN,),
    "malformed key": (TOKEN, "ours/ca.pem", "ours/client.pem", "malformed"),
    "key of another": (TOKEN, "ours/ca.pem", "ours/client.pem", "theirs/client.key"),
    "key for an authority": (TOKEN, "ours/client.key"),
    "key for a certificate": (TOKEN, "ours/ca.pem", "ours/client.key", "ours/client.key"),
    "no such file": (TOKEN, "nowhere/ca.pem"),
}
"""Tokens, and files that nobody has looked into before they are used."""


@pytest.mark.parametrize("wrong", WRONG)
def test_client_that_finds_no_peer_says_why_without_its_secrets(wrong, files, journal):
    token, *names = WRONG[wrong]
    given = Credentials(token.encode(), Tls(*(str(files / name) for name in names)) if names else None)
    right = Credentials(TOKEN.encode(), tls(files / "ours", "peer"))
    with Peer(1, bind="127.0.0.1:0", credentials=right) as peer:
        errors = turned_away(peer.address, given)
        if wrong != "no certificate":  # a peer greets whoever asks, and looks at certificates later
            with pytest.raises((PeerRefusedError, CredentialsError)) as refused:
                asyncio.run(look(peer.address, given))
            errors.append(refused.value)
    said = journal() | {type(exc).__name__: told_by(exc) for exc in errors}
    assert f"peer {peer.address}: " in said["log"]
    assert not found(said, [TOKEN, OTHER, canary("key"), *keys(files)])


def test_token_for_a_port_without_tls_is_not_quoted(journal):
    with Peer(1, bind="127.0.0.1:0", credentials=Credentials()) as peer:
        late, exc = turned_away(peer.address, Credentials(TOKEN.encode()))
    assert "does not use TLS" in str(exc)
    assert not found(journal() | {"late": told_by(late), "error": told_by(exc)}, [TOKEN])


SPOILT = [
    {"TOKEN_FILE": "short-token"},
    {"TOKEN_FILE": "open-token"},
    {"TLS_KEY": "malformed"},
    {"TLS_KEY": "malformed-ec"},
    {"TLS_KEY": "theirs/peer.key"},
    {"TLS_KEY": "token"},
    {"TLS_CERT": "token"},
    {"TLS_CERT": "ours/peer.key"},
    {"TLS_CA": "token"},
    {"TLS_CA": "ours/ca.key"},
]
RIGHT = {"TLS_CA": "ours/ca.pem", "TLS_CERT": "ours/peer.pem", "TLS_KEY": "ours/peer.key"}


@pytest.mark.parametrize("command", [["serve"], ["doctor", "127.0.0.1:1"], ["peers", "127.0.0.1:1"], None], ids=str)
@pytest.mark.parametrize("wrong", SPOILT, ids=str)
def test_file_that_cannot_be_used_is_not_quoted(wrong, command, files, monkeypatch, journal):
    for name, file in (RIGHT | wrong).items():
        prefix = "WOOLEXEC_SERVE_" if command == ["serve"] and name.startswith("TLS") else "WOOLEXEC_"
        monkeypatch.setenv(f"{prefix}{name}", str(files / file))
    if command is None:
        with pytest.raises(CredentialsError, match=str(files)) as caught:
            Credentials.from_environment()
        said = journal() | {"error": told_by(caught.value)}
    else:
        assert cli.main(command) == 2
        said = journal()
        assert said["stdout and stderr"].startswith(f"woolexec {command[0]}: ")
        assert str(files) in said["stdout and stderr"]
    assert not found(said, [TOKEN, OTHER, SHORT, canary("key"), *keys(files)])


@pytest.mark.parametrize("arguments", [["doctor"], ["peers", "--timeout=0.1"], ["peers", "--timeout=0.1", "--json"]])
@pytest.mark.parametrize("token", [TOKEN, OTHER, None], ids=["right", "wrong", "none"])
def test_doctor_and_the_list_of_peers_show_no_secret(arguments, token, room, files, monkeypatch, journal):
    for name, file in {"CA": "ca.pem", "CERT": "client.pem", "KEY": "client.key"}.items():
        monkeypatch.setenv(f"WOOLEXEC_TLS_{name}", str(files / "ours" / file))
    if token is not None:
        monkeypatch.setenv("WOOLEXEC_TOKEN_FILE", str(secret_file(room / "token", token)))
    right = Credentials(TOKEN.encode(), tls(files / "ours", "peer"))
    with Peer(1, bind="127.0.0.1:0", credentials=right) as peer:
        code = cli.main([*arguments, peer.address])
    said = journal()
    assert peer.address in said["stdout and stderr"]
    if token is not None or arguments == ["doctor"]:  # who asks for no token finds out when a link is made
        assert code == (0 if token == TOKEN else 1)
    assert not found(said, [TOKEN, OTHER, *keys(files)])


@pytest.mark.parametrize(
    ("arguments", "code"),
    [("init", 2), ("issue client", 0), ("show {}/peer.pem", 0), ("show {}/peer.key", 2), ("show {}/ca.key", 2)],
)
def test_certs_print_no_key(arguments, code, room, capfd):
    folder = authority_in(room / "made")
    action = [word.format(folder) for word in arguments.split()]
    assert cli.main(["certs", *action, *([] if action[0] == "show" else [f"--folder={folder}"])]) == code
    said = "".join(capfd.readouterr())
    assert said
    assert not found({"said": said}, keys(folder))


def test_certs_that_make_an_authority_print_no_key(room, capfd):
    assert cli.main(["certs", "init", f"--folder={room}/made"]) == 0
    said = "".join(capfd.readouterr())
    assert f"{room}/made/ca.key" in said
    assert not found({"said": said}, keys(room / "made"))


def test_certs_do_not_quote_the_key_of_an_authority_that_cannot_be_read(room, files, capfd):
    folder = authority_in(room / "made")
    secret_file(folder / "ca.key", (files / "malformed").read_text())
    assert cli.main(["certs", "issue", "peer", f"--folder={folder}"]) == 2
    said = "".join(capfd.readouterr())
    assert "cannot be read" in said
    assert not found({"said": said}, [canary("key")])


def test_executor_leaves_its_secrets_here_when_it_goes_into_a_task():
    with Peer(1, credentials=Credentials(TOKEN.encode())) as peer:
        with PeerPoolExecutor(peers=peer.address, credentials=Credentials(TOKEN.encode())) as pool:
            places = {"pool": pickle.dumps(pool), "view": pickle.dumps(pool.with_options(name="task"))}
            assert pool.submit(isinstance, pool, PeerPoolExecutor).result(PATIENCE) is False  # it is the task's own
    assert not found(places, [TOKEN])


def test_token_does_not_get_into_a_pickle_unnoticed():
    try:
        data = pickle.dumps(Credentials(TOKEN.encode()))
    except TypeError:  # refused
        return
    assert not found({"pickle": data}, [TOKEN])


@pytest.mark.parametrize("how", ["executor", "peers", "serve"])
def test_password_in_a_url_is_refused_and_not_quoted(how, room, capfd):
    url = f"ssh://me:{canary('password')}@far"
    if how == "executor":
        with pytest.raises(ValueError, match="no password") as caught:
            PeerPoolExecutor(peers=url)
        said = {"error": told_by(caught.value)}
    elif how == "peers":
        assert cli.main(["peers", url]) == 2
        said = {"said": capfd.readouterr()}
    else:
        secret_file(room / "peer.toml", f'peers = ["{url}"]')
        assert cli.main(["serve", f"--config={room}/peer.toml"]) == 2
        said = {"said": capfd.readouterr()}
    assert "no password" in str(said)
    assert not found(said, [canary("password")])


# -- local workers -----------------------------------------------------------------------------------------------------


@linux
def test_workers_beside_peers_do_not_have_the_token_in_their_environment(room, monkeypatch):
    monkeypatch.setenv("WOOLEXEC_TOKEN_FILE", str(secret_file(room / "token")))
    with Peer(1, credentials=Credentials(TOKEN.encode())) as peer, PeerPoolExecutor(1, peers=peer.address) as pool:
        pool.wait_for_peers(1, PATIENCE)
        ran = pool.run_on_all(eval, ENVIRONMENT)
        seen = {f"task on {key}": future.result(PATIENCE) for key, future in ran.items()}
        assert len(seen) == 2
        (here,) = [key for key in ran if isinstance(key, int)]
        seen |= processes(here, "worker") | processes(os.getpid(), "client")
    assert b"woolexec.worker.fork_server" in seen["cmdline of worker"]
    assert not found(seen, [TOKEN])


@linux
def test_key_of_multiprocessing_reaches_workers_unseen(monkeypatch):
    process = multiprocessing.current_process()
    monkeypatch.setitem(process._config, "authkey", multiprocessing.process.AuthenticationString(TOKEN.encode()))
    with PeerPoolExecutor(1) as pool:
        theirs = "bytes(__import__('multiprocessing').current_process().authkey)"
        assert pool.submit(eval, theirs).result(PATIENCE) == TOKEN.encode()
        seen = {"task": pool.submit(eval, ENVIRONMENT).result(PATIENCE)}
        seen |= processes(pool.submit(os.getpid).result(PATIENCE), "worker")
        seen |= processes(pool.submit(os.getppid).result(PATIENCE), "template")
    assert not found(seen, [TOKEN])


@pytest.mark.slow
@linux
def test_peers_of_the_demo_are_told_their_token_unseen():
    with local_peers(1, 1) as (addresses, given), PeerPoolExecutor(peers=addresses, credentials=given) as pool:
        seen = {"task": pool.submit(eval, ENVIRONMENT).result(PATIENCE)} | processes(os.getpid(), "client")
        assert any(b"--token-file=-" in command for command in seen.values() if isinstance(command, bytes))
    assert not found(seen, [given.token.decode()])


# -- ssh ---------------------------------------------------------------------------------------------------------------


FAKE = fake_ssh.command()


@pytest.fixture
def tokens(monkeypatch):
    """The tokens that have gone over stdin."""
    given = []

    class Running(ssh._Running):
        def __init__(self, command, stdin, name):
            given.append(stdin.decode().strip())
            super().__init__(command, stdin, name)

    monkeypatch.setattr(ssh, "_Running", Running)
    return given


@pytest.fixture
def over(room, monkeypatch):
    """Make a shell command stand in for ssh."""

    def use(command):
        program = room / "ssh"
        program.write_text(f"#!/bin/sh\n{command}\n")
        program.chmod(stat.S_IRWXU)
        monkeypatch.setenv("WOOLEXEC_SSH", str(program))

    return use


@linux
def test_token_of_a_peer_over_ssh_goes_by_stdin_and_is_seen_nowhere(room, tokens, over, journal):
    over(FAKE)
    with PeerPoolExecutor(peers=Ssh("far", workers=1, python=sys.executable)) as pool:
        seen = {"task": pool.submit(eval, ENVIRONMENT).result(PATIENCE)}
        (token,) = tokens
        (record,) = [known.record for known in pool._peers._attempts.candidates]
        assert record.credentials == Credentials(token.encode())  # and it is what lets us in
        seen |= {"record": repr(record)} | processes(os.getpid(), "client")
    commands = [data for place, data in seen.items() if place.startswith("cmdline")]
    assert any(b"--token-file=-" in command and b"BatchMode" in command for command in commands)  # ssh itself
    assert any(b"--token-file=-" in command and b"BatchMode" not in command for command in commands)  # over there
    assert any(b"worker.fork_server" in command for command in commands)
    seen |= {path.name: path.read_bytes() for path in room.rglob("*") if path.is_file()}
    assert not found(seen | journal(), tokens)


@pytest.mark.parametrize("host", ["denied", "absent"])
def test_reason_why_there_is_no_peer_over_ssh_does_not_hold_the_token(host, tokens, over, journal):
    over(FAKE)
    late, exc = turned_away(f"ssh://{host}/1?python={quote(sys.executable)}", None, "exit code")
    assert tokens
    assert not found(journal() | {"late": told_by(late), "error": told_by(exc)}, tokens)


@pytest.mark.parametrize(
    ("host", "said"), [("exec cat", "expected the ready line"), ("head -n 1 >&2; exit 1", "exit code 1")]
)
def test_host_that_repeats_what_it_was_told_does_not_get_the_token_into_the_log(host, said, tokens, over, journal):
    over(host)
    late, exc = turned_away("ssh://far", None, said)
    assert tokens
    assert not found(journal() | {"late": told_by(late), "error": told_by(exc)}, tokens)


@pytest.mark.parametrize("kept", [20, 40])
def test_part_of_the_token_is_not_told_where_the_last_words_of_ssh_begin(kept, over, tokens, journal):
    over(f"read token; printf %s $token >&2; head -c {ssh._COMPLAINT_SIZE - kept} /dev/zero | tr '\\0' x >&2; exit 1")
    late, exc = turned_away("ssh://far", None, "exit code 1")
    assert tokens
    said = journal() | {"late": told_by(late), "error": told_by(exc)}
    assert found(said, ["x" * 99])  # its last words are told
    assert not found(said, [token[-kept:] for token in tokens])


# -- records -----------------------------------------------------------------------------------------------------------


class Heard(Discovery):
    """Keeps what a peer announces."""

    def __init__(self):
        self.records = []

    @contextlib.asynccontextmanager
    async def announce(self, record):
        self.records.append(record)
        yield


def announced_by_a_peer(files):
    heard = Heard()
    given = Credentials(TOKEN.encode(), tls(files / "ours", "peer"))
    with Peer(1, bind="127.0.0.1:0", credentials=given, tags=[f"public={canary('tag')}"], announce=[heard]):
        pass
    (record,) = heard.records
    return record


def found_with_credentials(files):
    given = Credentials(TOKEN.encode(), tls(files / "ours", "peer"))
    return Record("f" * 32, ("127.0.0.1:7437",), tags=(f"public={canary('tag')}",), credentials=given)


def dns_sd(record, _room):
    """Return the packet that tells the network of a record."""
    from zeroconf import DNSOutgoing

    from woolexec.discovery.lan import _service_of

    service = asyncio.run(_service_of(record))
    packet = DNSOutgoing(0x8400)
    for answer in (service.dns_pointer(), service.dns_service(), service.dns_text(), *service.dns_addresses()):
        packet.add_answer_at_time(answer, 0)
    return b"".join(packet.packets())


def file_in_a_folder(record, room):
    async def main():
        async with Directory(room).announce(record):
            (path,) = room.glob("*.json")
            return path.read_bytes()

    return asyncio.run(main())


@pytest.mark.parametrize("record", [announced_by_a_peer, found_with_credentials])
@pytest.mark.parametrize("published", [dns_sd, file_in_a_folder])
def test_record_that_is_published_has_no_secret_in_it(record, published, room, files):
    places = {"published": published(record(files), room)}
    assert found(places, [canary("tag")])  # that one is for everybody
    assert not found(places, [TOKEN, *keys(files)])
