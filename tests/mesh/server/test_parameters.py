"""A wrong parameter of a peer is an error that names it, before anything listens."""

import math

import pytest

from tests.mesh.conftest import CREDENTIALS
from woolexec.mesh.server.peer import Peer

NUMBERS = [-1, 1.5, math.nan, math.inf, True, "1", "", None, [], 10**30, -(10**400)]
TEXTS = [1, True, math.nan, b"text", [], object()]
LISTS = [1, math.nan, "text", b"text", None, [1], [None], [""], [" "], ["a\0b"]]
WRONG = {
    "workers": NUMBERS,
    "coroutines": [0, *NUMBERS],
    "threads": [0, *(number for number in NUMBERS if number != 10**30)],
    "bind": [*TEXTS, "", "x y", "h:99999", "h:-1", "unix:relative", "[::1"],
    "health": [*TEXTS, "", "h:x"],
    "credentials": [None, "token", b"token", {}, type(CREDENTIALS)],
    "pool": [*TEXTS, None],
    "tags": LISTS,
    "advertise": LISTS,
    "allow": [value for value in LISTS if value is not None],
    "announce": [1, [1], ["nfs://x"], [None]],
    "resources": [1, "gpu", ["gpu"], {"gpu": -1}, {"gpu": 0}, {"gpu": math.nan}, {"gpu": "1"}, {"gpu": True}, {"": 1}],
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_parameter_is_an_error_that_names_it(name):
    for value in WRONG[name]:
        about = {"credentials": CREDENTIALS, name: value} | ({} if name == "workers" else {"workers": 1})
        with pytest.raises((TypeError, ValueError), match="peers|nfs" if name == "announce" else name):
            Peer(**about)


def test_peer_without_allow_list_differs_from_one_with_an_empty_list():
    for allow in (None, [], ["os:getpid"]):
        with Peer(1, credentials=CREDENTIALS, allow=allow) as peer:
            assert peer._takes_code is (allow is None)
