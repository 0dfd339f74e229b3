"""
Pickling of torch objects: torch would share them between processes of a machine; here they are copied, like all others.

torch registers reducers with multiprocessing that move a tensor into shared memory and send a descriptor, once.  So a
task could change its caller's tensor, and a tensor could not be put, sent again or sent to another host.  These
reducers are still used for tensors that the program shares itself (``tensor.share_memory_()``), and for those on a GPU.
"""

from __future__ import annotations

import sys

from woolexec.wire.payload import APART

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def is_of_torch(cls: type) -> bool:
    """Return whether a class is torch's."""
    return cls.__module__.partition(".")[0] == "torch"


def is_tensor_class(cls: type) -> bool:
    """Return whether a class is `torch.Tensor`, not a subclass."""
    return cls.__name__ == "Tensor" and cls.__module__ == "torch"


def copying(reduce: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a reducer that copies objects that are not shared yet; it replaces one of torch's."""

    def reduce_copied(obj: Any) -> Any:
        if _is_shared(obj):
            return reduce(obj)
        return (_reduce_tensor(obj) if is_tensor_class(type(obj)) else None) or obj.__reduce_ex__(5)

    return reduce_copied


def _is_shared(obj: Any) -> bool:
    """Return whether other processes use the memory of a tensor or a storage; True for objects without such memory."""
    is_shared = getattr(getattr(obj, "_untyped_storage", obj), "is_shared", None)  # the method of typed storages warns
    try:
        return is_shared is None or bool(is_shared())
    except RuntimeError:  # it has no storage, as a sparse tensor
        return False


def _reduce_tensor(tensor: Any) -> tuple[Any, ...] | None:
    """Reduce a tensor to an array of its bytes, whose memory is pickled out of band; None if it is not that simple."""
    torch = sys.modules["torch"]
    if (
        tensor.layout is not torch.strided
        or tensor.is_quantized
        or tensor.is_conj()
        or tensor.is_neg()
        or not tensor.is_contiguous()
        or tensor.nbytes < APART
        or vars(tensor)
        or tensor._backward_hooks
    ):
        return None
    try:
        memory = tensor.detach().reshape(-1).view(torch.uint8).numpy()
    except (RuntimeError, TypeError):  # there is no numpy, or no memory, as in tensors of the device "meta"
        return None
    return rebuild, (memory, tensor.dtype, tuple(tensor.shape), tensor.requires_grad)


def rebuild(memory: Any, dtype: Any, shape: tuple[int, ...], requires_grad: bool) -> Any:  # noqa: FBT001  # pickled
    """Create a tensor of the memory of an array."""
    torch = sys.modules["torch"]  # its type is of torch
    tensor = torch.from_numpy(memory).view(dtype).reshape(shape)
    return tensor.requires_grad_() if requires_grad else tensor
