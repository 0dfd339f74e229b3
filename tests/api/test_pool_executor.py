import pytest

from tests.faults.actors import Counter
from tests.faults.tasks import SOON
from tests.shared_pools import shared
from woolexec.api.pool_executor import PoolExecutor
from woolexec.api.task_executor import NestedExecutor

pytestmark = pytest.mark.usefixtures("shared_pools")


def test_pools_views_and_the_pool_as_a_task_sees_it_make_actors_and_actors_make_none():
    with shared(1) as pool, pool.actor(Counter) as counter:
        view = pool.with_options(name="count")
        assert all(isinstance(each, PoolExecutor) for each in (pool, view, NestedExecutor()))
        assert not isinstance(counter, PoolExecutor)
        with view.actor(Counter, 1) as another:
            assert (another.submit(Counter.add, 1).result(SOON), repr(another)) == (2, "<Actor count: alive>")
