"""Tensors of torch, if it is installed."""

import pytest

from tests.faults.tasks import SOON
from tests.mesh.conftest import CREDENTIALS, PATIENCE, joined
from tests.shared_pools import shared
from woolexec.mesh.server.peer import Peer
from woolexec.wire.payload import APART, File
from woolexec.wire.pickling import dumps_call
from woolexec.wire.unpickling import loads

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.usefixtures("shared_pools")

N = APART


MADE = {
    "plain": lambda: torch.arange(N),
    "not contiguous": lambda: torch.rand(N // 8, 16).T,
    "of a type that numpy has not": lambda: torch.ones(N, dtype=torch.bfloat16),
    "that requires a gradient": lambda: torch.rand(N, requires_grad=True),
    "number": lambda: torch.tensor(5),
    "empty": lambda: torch.zeros(0, 3),
    "conjugate": lambda: torch.rand(4, N, dtype=torch.complex64).conj(),
    "sparse": lambda: torch.eye(100).to_sparse(),
    "parameter": lambda: torch.nn.Parameter(torch.rand(N)),
}


@pytest.mark.parametrize("kind", MADE)
def test_tensor_of_any_kind_is_the_same_there(kind):
    tensor = MADE[kind]()
    ((again,), _) = loads(dumps_call((tensor,), {}))
    assert type(again) is type(tensor)
    assert (again.dtype, again.shape, again.requires_grad) == (tensor.dtype, tensor.shape, tensor.requires_grad)
    assert torch.equal(again.to_dense().detach(), tensor.to_dense().detach())


def test_memory_of_a_tensor_is_copied_once_and_not_searched():
    payload = dumps_call((torch.rand(1 << 17, dtype=torch.float64),), {})
    assert isinstance(payload, File)
    assert payload.extent[1:] == (1 << 20,)


def change(tensor):
    tensor[0] = 7
    return tensor


def weigh(model):
    return float(sum(each.detach().sum() for each in model.parameters()))


def test_task_has_a_copy_of_its_own_however_often_it_is_sent():
    tensor = torch.zeros(1 << 17)
    with shared(2) as pool:
        value = pool.put(tensor)
        for sent in (tensor, value, value, tensor):
            changed = pool.submit(change, sent).result(SOON)
            assert (changed[0], changed.sum()) == (7, 7)
            changed[1] = 1  # it may be written to
        assert tensor.sum() == 0
        assert not tensor.is_shared()


@pytest.mark.slow
def test_model_is_sent_to_a_peer():
    model = torch.nn.Linear(300, 300)
    with Peer(1, credentials=CREDENTIALS) as peer, joined(peer) as pool:
        value = pool.put(model)
        for sent in (model, value, value):
            assert pool.submit(weigh, sent).result(PATIENCE) == pytest.approx(weigh(model), rel=1e-3)


@pytest.mark.slow
@pytest.mark.leaks(reason="torch keeps the thread that gives its descriptors to others")
def test_what_the_program_shares_is_shared():
    tensor = torch.zeros(1 << 17).share_memory_()
    with shared(1) as pool:
        pool.submit(change, tensor).result(SOON)
    assert tensor[0] == 7
