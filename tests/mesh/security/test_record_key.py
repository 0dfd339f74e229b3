import pickle

import pytest

from tests.tokens import token_for
from woolexec.mesh.security.record_key import RecordKey

TOKEN = token_for("records")


def test_mac_is_right_for_its_content_and_key_only():
    key = RecordKey(TOKEN)
    mac = key.mac(b"content")
    assert key.is_right(b"content", mac)
    assert RecordKey(TOKEN).is_right(b"content", mac)
    assert not key.is_right(b"other", mac)
    assert not RecordKey(token_for("others")).is_right(b"content", mac)


@pytest.mark.parametrize("mac", ["", "0" * 64, "é\ud800", "x" * 10_000])
def test_other_texts_are_no_macs(mac):
    assert not RecordKey(TOKEN).is_right(b"content", mac)


def test_key_is_not_the_token_and_does_not_leave_the_process():
    key = RecordKey(TOKEN)
    assert TOKEN not in vars(key).values()
    assert TOKEN.decode() not in repr(key)
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(key)
