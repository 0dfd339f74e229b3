"""The places that the clients of one peer share."""

from woolexec.core.offer import NOTHING, Offer
from woolexec.mesh.server.capacity import Places
from woolexec.resources import Line, Requirement
from woolexec.wire.frames import Load

LONG = 10.0


class Client:
    """A client that keeps what it is told."""

    def __init__(self, places):
        self.told = []
        places.clients.add(self)

    def tell(self, frame):
        self.told.append(frame)

    @property
    def free(self):
        assert all(frame.__class__ is Load for frame in self.told)
        return [frame.free for frame in self.told]


class Timers(list):
    """Functions that are to be called later, with the seconds until then."""

    def __call__(self, seconds, piece):
        self.append((seconds, piece))

    def run(self):
        due, self[:] = self[:], []
        for _, piece in due:
            piece()


def full(width=1, clients=2, offer=NOTHING):
    """A peer whose places are all taken by its first client; the others have been refused."""
    timers = Timers()
    places = Places(timers, width, offer)
    made = [Client(places) for _ in range(clients)]
    weights = [places.admission.admit(made[0], LONG, offer=True) for _ in range(width)]
    for client in made[1:]:
        assert places.admission.admit(client, LONG, offer=True) is None
    return places, timers, weights, made


def test_calls_of_a_client_have_no_line_of_their_own():
    places = Places(Timers(), 1, NOTHING)
    assert places.line_of(Client(places), 0, None) is None


def test_priority_and_peers_of_its_own_make_a_line():
    places = Places(Timers(), 1, NOTHING)
    client = Client(places)
    assert places.line_of(client, 3, None) == Line(3, client=client)
    near = Places(Timers(), 1, NOTHING, has_peers=True)
    client = Client(near)
    assert near.line_of(client, 0, None) == Line(0, client=client)


def test_nobody_is_told_while_nobody_waits():
    places = Places(timers := Timers(), 1, NOTHING)
    Client(places)
    places.tell()
    assert not timers


def test_client_that_waits_is_told_of_a_free_place_after_the_outcome():
    places, timers, weights, (busy, waiting) = full()
    places.admission.done(busy, weights[0])
    places.tell()
    places.tell()
    assert [seconds for seconds, _ in timers] == [0.0]
    assert waiting.free == []
    timers.run()
    assert waiting.free == [1]


def test_client_is_told_how_many_places_are_free():
    places, timers, weights, (busy, waiting) = full(width=3)
    for weight in weights[:2]:
        places.admission.done(busy, weight)
    places.tell()
    timers.run()
    assert waiting.free == [2]


def test_next_client_is_told_when_the_first_has_not_used_the_place():
    places, timers, weights, (busy, first, second) = full(clients=3)
    places.admission.done(busy, weights[0])
    places.tell()
    timers.run()
    assert (first.free, second.free) == ([1], [])
    timers.run()
    assert (first.free, second.free) == ([1], [1])


def test_nobody_is_told_while_no_place_is_free_and_it_is_checked_again_later():
    places, timers, weights, (busy, waiting) = full()
    places.tell()
    timers.run()
    assert waiting.free == []
    ((until_check, _),) = timers
    places.admission.done(busy, weights[0])
    timers.run()
    assert waiting.free == [1]
    ((until_next, _),) = timers
    assert until_next < until_check


def test_client_that_waits_for_a_resource_is_told_only_when_it_is_free():
    offer = Offer((), {"gpu": 1.0})
    timers = Timers()
    places = Places(timers, 4, offer)
    one, other = Client(places), Client(places)
    gpu = Requirement({"gpu": 1})
    weight = places.admission.admit(one, LONG, gpu, offer=True)
    assert places.admission.admit(other, LONG, gpu, offer=True) is None
    places.tell()
    timers.run()
    assert other.free == []
    places.admission.done(one, weight, gpu)
    timers.run()
    assert other.free == [4]


def test_client_that_leaves_is_told_no_more_and_the_next_one_is():
    places, timers, weights, (busy, first, second) = full(clients=3)
    places.admission.done(busy, weights[0])
    places.leave(first)
    assert first not in places.clients
    timers.run()
    assert (first.free, second.free) == ([], [1])
    places.leave(second)
    for _ in range(3):
        timers.run()
    assert not timers
    assert second.free == [1]
