import pytest

from woolexec.wire.fast_frames import decode
from woolexec.wire.frames import encode
from woolexec.wire.status_frames import Stated, Status


@pytest.mark.parametrize(
    "frame",
    [
        Status(request=7),
        Status(),
        Stated(request=7, statistics=("{}", ""), client=("é", "b"), left_out=1),
        Stated(request=7, refused="no"),
    ],
    ids=repr,
)
def test_what_was_encoded_is_decoded(frame):
    assert decode(encode(frame)) == [frame]
