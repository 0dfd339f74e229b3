"""Data from a worker or a client is never unpickled in a peer, or on the thread of any engine."""

import pytest

SCRIPT = """
    import collections, decimal, fractions, logging, sys, threading
    from woolexec import PeerPoolExecutor, current_executor
    from tests.mesh.conftest import CREDENTIALS, PATIENCE, joined
    from woolexec.mesh.server.peer import Peer

    found = collections.Counter()
    met = []

    def hook(event, args):
        if event == "pickle.find_class":
            name = threading.current_thread().name
            found[name] += 1
            if name != "MainThread" and name != "woolexec-callbacks":
                met.append((name, args[1:]))

    def value(n): return decimal.Decimal(n)
    def fails(n): raise ArithmeticError(fractions.Fraction(n))
    async def later(n): return decimal.Decimal(n)
    def items(n):
        for each in range(n): yield decimal.Decimal(each)
    def nests(n): return current_executor().submit(value, n).result() + current_executor().submit(value, n).result()
    def logs(n): logging.getLogger("tests").warning("%s", decimal.Decimal(n))
    def bad_start(): raise ArithmeticError(fractions.Fraction(1))

    def use(pool):
        n = decimal.Decimal(3)
        assert pool.submit(value, n).result(PATIENCE) == n
        assert isinstance(pool.submit(fails, n).exception(PATIENCE), ArithmeticError)
        assert pool.submit(later, n).result(PATIENCE) == n
        assert list(pool.map(value, [n] * 50)) == [n] * 50
        with pool.stream(items, 5) as stream: assert sum(stream) == 10
        assert pool.submit(nests, n).result(PATIENCE) == 6
        assert pool.submit(value, pool.submit(value, n)).result(PATIENCE) == n
        assert pool.submit(len, pool.put([n] * 100_000)).result(PATIENCE) == 100_000
        assert pool.with_options(retries=1, retry_on=ArithmeticError).submit(fails, n).exception(PATIENCE)
        pool.submit(logs, n).result(PATIENCE)
        pool.run_on_all(value, n)

    with Peer(2, credentials=CREDENTIALS) as peer, joined(peer) as pool, PeerPoolExecutor(2) as local:
        use(pool), use(local)  # what is imported on the way is no message
        sys.addaudithook(hook)
        use(pool), use(local)
        with PeerPoolExecutor(0, peers=peer.address, credentials=CREDENTIALS, initializer=bad_start) as broken:
            assert broken.submit(value, 1).exception(PATIENCE)
        with PeerPoolExecutor(1, initializer=bad_start) as broken:
            assert broken.submit(value, 1).exception(PATIENCE)
    assert found["MainThread"] > 50, found  # the hook does see it
    print(met)
"""


@pytest.mark.linux
def test_nothing_is_unpickled_in_a_peer_or_on_an_engines_thread(run):
    code, out, err = run(SCRIPT).end(limit=50)
    assert (code, out) == (0, "[]\n"), err
