from types import SimpleNamespace

from woolexec.mesh.server.refusals import Refusals
from woolexec.mesh.server.traffic import Traffic


def link(refused, sent, received):
    """Stand in for the session of a client."""
    refusals = Refusals(SimpleNamespace(after=lambda *_: None), SimpleNamespace(put=lambda _: None))
    for number in range(refused):
        refusals.add(number)
    refusals.send()
    counted = SimpleNamespace(received=received)
    return SimpleNamespace(refusals=refusals, outbox=SimpleNamespace(written=sent), _arriving=counted)


def counts(traffic):
    found = traffic.statistics()
    return found.refused, found.bytes_sent, found.bytes_received


def test_links_that_have_ended_stay_counted():
    served = [link(1, 20, 300), link(2, 40, 600)]
    traffic = Traffic(served)
    assert counts(traffic) == (3, 60, 900)
    traffic.ended(served.pop())
    assert counts(traffic) == (3, 60, 900)
    traffic.ended(served.pop())
    assert counts(traffic) == (3, 60, 900)
    served.append(link(1, 1, 1))
    assert counts(traffic) == (4, 61, 901)
