"""Names of the caller's `__main__` that a worker looks up by a string, or by a pickle that was made elsewhere."""

import os
import subprocess
import sys
import textwrap

import pytest

from woolexec import Credentials
from woolexec.discovery.urls import discoveries
from woolexec.mesh.server.peer import Peer

MODULE = """
import os
import sys


def by_text(text, *args):
    module, _, name = text.partition(":")
    return getattr(__import__(module), name)(*args)


async def in_a_coroutine(text, *args):
    return by_text(text, *args)


def nested(text, *args):
    from woolexec import current_executor
    return current_executor().submit(by_text, text, *args).result()


def at_a_far_peer(text, *args):
    from woolexec import current_executor
    return current_executor().with_options(require={"far": 1}).submit(by_text, text, *args).result()


def in_a_thread(text, *args):
    from concurrent.futures import ThreadPoolExecutor
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(by_text, text, *args).result()


def in_a_fork(text):
    if os.fork() == 0:
        try:
            by_text(text)
        except AttributeError:
            os._exit(7)
        finally:
            os._exit(8)
    return os.waitstatus_to_exitcode(os.wait()[1])


def is_known(name):
    return name in vars(sys.modules["__main__"])
"""

PROGRAM = """
import pickle
import sys
import by_text
from woolexec import Credentials, PeerPoolExecutor

offset = 1
secret = "a secret"


def job(number):
    return number + offset


class Thing:
    def __init__(self, number):
        self.number = number


def error_of(*args):
    try:
        return pool.submit(*args).result()
    except Exception as exc:
        return f"{type(exc).__name__}: {exc}"


how = {"max_workers": 1}
if len(sys.argv) > 1:
    how = {"peers": sys.argv[1], "credentials": Credentials(sys.argv[2].encode())}
with PeerPoolExecutor(**how, **OPTIONS) as pool:
"""


@pytest.fixture
def program(tmp_path):
    (tmp_path / "by_text.py").write_text(MODULE)

    def run(source, *arguments, options=None):
        if options is None:
            options = {"ship": "by_text"} if arguments else {}
        text = PROGRAM.replace("OPTIONS", repr(options))
        (tmp_path / "program.py").write_text(text + textwrap.indent(textwrap.dedent(source), "    "))
        ran = subprocess.run(
            [sys.executable, "program.py", *arguments],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=40,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout.splitlines()

    return run


def test_function_that_is_named_by_a_text_is_asked_for_once(program):
    source = """
        print(pool.submit(by_text.is_known, "job").result())
        print(pool.submit(by_text.by_text, "__main__:job", 1).result())
        print(pool.submit(by_text.is_known, "job").result())
        print(pool.submit(by_text.by_text, "__main__:job", 2).result())
    """
    assert program(source) == ["False", "2", "True", "3"]


def test_pickle_that_was_made_elsewhere_finds_functions_and_classes(program):
    source = """
        print(pool.submit(pickle.loads, pickle.dumps(job)).result() is job)
        thing = pool.submit(pickle.loads, pickle.dumps(Thing(3))).result()
        print(type(thing) is Thing, thing.number)
    """
    assert program(source)[1:] == ["True 3"]


@pytest.mark.parametrize("way", ["in_a_coroutine", "nested", "in_a_thread"])
def test_name_is_found_in_each_lane(program, way):
    assert program(f'print(pool.submit(by_text.{way}, "__main__:job", 1).result(20))') == ["2"]


def test_name_that_is_not_there_and_values_are_errors(program):
    source = """
        for name in ("nothing", "secret", "offset", "__path__"):
            print(error_of(by_text.by_text, f"__main__:{name}"))
    """
    for name, line in zip(("nothing", "secret", "offset", "__path__"), program(source), strict=True):
        assert line == f"AttributeError: module '__main__' has no attribute '{name}'"


def test_process_that_a_task_has_forked_asks_nobody(program):
    assert program('print(pool.submit(by_text.in_a_fork, "__main__:job").result())') == ["7"]


def test_pool_that_does_not_trust_peers_answers_its_own_workers(program):
    source = 'print(pool.submit(by_text.by_text, "__main__:job", 1).result())'
    assert program(source, options={"results": "plain"}) == ["2"]


def test_pool_that_is_shut_down_answers_until_its_calls_have_ended(program):
    source = """
        futures = [pool.submit(by_text.by_text, "__main__:job", number) for number in range(3)]
        pool.shutdown(wait=False)
        print(*[future.result() for future in futures])
    """
    assert program(source) == ["1 2 3"]


def test_program_that_ends_answers_until_its_calls_have_ended(program):
    source = """
        future = PeerPoolExecutor(1).submit(by_text.by_text, "__main__:job", 1)
        future.add_done_callback(lambda done: print(done.result(), flush=True))
    """
    assert program(source) == ["2"]


def test_callback_that_waits_for_a_task_that_asks_does_not_block_the_answer(program):
    source = """
        from concurrent.futures import Future
        said = Future()
        def ask(_):
            said.set_result(pool.submit(by_text.by_text, "__main__:job", 1).result(30))
        pool.submit(by_text.is_known, "x").add_done_callback(ask)
        print(said.result(30))
    """
    assert program(source) == ["2"]


def test_call_that_is_ended_while_it_asks_leaves_nobody_waiting(program):
    source = """
        import threading
        asked, go_on = threading.Event(), threading.Event()
        class Slow:
            def __reduce__(self):
                asked.set()
                go_on.wait()
                return Slow, ()
        def slow(number, slow=Slow()):
            return number + 1
        globals().update(slow=slow, Slow=Slow)
        future = pool.submit(by_text.by_text, "__main__:slow", 1)
        asked.wait()
        future.cancel(force=True)
        print(error_of(lambda: 1))
        go_on.set()
        print(pool.submit(by_text.by_text, "__main__:job", 1).result())
        print(pool.submit(by_text.by_text, "__main__:slow", 1).result())
    """
    assert program(source) == ["1", "2", "2"]


@pytest.fixture
def token():
    return Credentials.with_new_token()


def test_client_is_asked_over_a_link(program, token):
    source = """
        print(pool.submit(by_text.by_text, "__main__:job", 1).result())
        print(pool.submit(by_text.nested, "__main__:job", 1).result())
        print(error_of(by_text.by_text, "__main__:secret"))
    """
    with Peer(1, credentials=token) as peer:
        said = program(source, peer.address, token.token.decode())
    assert said == ["2", "2", "AttributeError: module '__main__' has no attribute 'secret'"]


def test_client_is_asked_by_way_of_the_peer_between(program, token):
    with (
        Peer(1, credentials=token, resources={"far": 1}) as far,
        Peer(1, credentials=token, peers=discoveries(far.address)) as near,
    ):
        said = program(
            'print(pool.submit(by_text.at_a_far_peer, "__main__:job", 1).result(30))',
            near.address,
            token.token.decode(),
        )
    assert said == ["2"]


def test_peer_that_is_not_trusted_is_told_nothing(program, token):
    with Peer(1, credentials=token) as peer:
        said = program(
            'print(error_of(by_text.by_text, "__main__:job", 1))',
            peer.address,
            token.token.decode(),
            options={"ship": "by_text", "results": "plain"},
        )
    assert said == ["AttributeError: module '__main__' has no attribute 'job'"]
