from tests.core.parts import Worker, make_call
from woolexec.core.workforce import Workforce


def filled(limit, count):
    workforce = Workforce(limit)
    workers = [Worker(number) for number in range(1, count + 1)]
    workforce.workers.update({worker.id: worker for worker in workers})
    return workforce, workers


def test_waiting_call_that_keeps_its_worker_makes_room_for_another_until_it_ends():
    workforce, (worker, _) = filled(2, 2)
    call = make_call()
    worker.sent(call, 7, 0.0, 0)
    assert not workforce.may_grow

    for _ in range(3):  # however often it says so
        workforce.kept[worker] = 7
    assert (workforce.most, workforce.may_grow) == (3, True)
    worker.gone(7, 0)
    assert (workforce.most, workforce.may_grow) == (2, False)


def test_worker_that_is_being_ended_makes_room_for_its_successor():
    workforce, (worker,) = filled(1, 1)
    workforce.ending.add(worker)

    assert workforce.may_grow


def test_surplus_is_idle_and_the_youngest_of_those_that_stay():
    workforce, workers = filled(2, 5)
    workers[4].sent(make_call(), 1, 0.0, 0)
    workers[3].stopping = True

    assert workforce.surplus() == [workers[2], workers[1]]


def test_there_is_no_surplus_within_the_limit():
    workforce, _ = filled(3, 3)

    assert workforce.surplus() == []


def test_workers_that_end_do_not_stay():
    workforce, workers = filled(3, 3)
    workers[0].stopping = workers[1].is_dead = True

    assert workforce.staying == [workers[2]]
