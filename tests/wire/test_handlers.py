import pytest

from woolexec.errors import ProtocolError
from woolexec.wire.frames import Next, Wait
from woolexec.wire.handlers import Handlers


def test_frame_without_a_handler_is_an_error_that_names_frame_and_role():
    handlers = Handlers("a worker", {Next: print})

    assert handlers[Next] is print
    with pytest.raises(ProtocolError, match="a worker does not accept Wait frames"):
        handlers[Wait]
