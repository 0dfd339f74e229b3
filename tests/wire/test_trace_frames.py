import pytest

from tests.shared_pools import shared
from woolexec.wire.fast_frames import decode
from woolexec.wire.frames import encode
from woolexec.wire.trace_frames import Clock, Ran, Trace


@pytest.mark.parametrize(
    "frame",
    [
        Trace(on=True, asked=1.5),
        Trace(),
        Clock(asked=1.5, now=7.25),
        Ran(call=7, name="é", outcome="raised", pid=9, row=2, parent_pid=3, began=1.5, ended=2.5),
    ],
    ids=repr,
)
def test_what_was_encoded_is_decoded(frame):
    assert decode(encode(frame)) == [frame]


@pytest.mark.usefixtures("shared_pools")
def test_workers_import_none_of_them():
    with shared(1) as pool:
        loaded = pool.submit(
            eval, "sorted(__import__('sys').modules)"
        ).result()  # the name of a function here imports this
    assert "woolexec.worker.process" in loaded
    assert "woolexec.wire.trace_frames" not in loaded
