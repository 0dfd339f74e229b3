"""The address at which a peer listens."""

import ipaddress
import socket

import pytest

from woolexec.mesh.server import listening
from woolexec.mesh.server.listening import reachable, why_not_bound


def test_free_port_can_be_bound_and_is_free_after_the_check():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    assert why_not_bound(f"127.0.0.1:{port}") is None
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_address_in_use_is_said_with_what_to_do():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        reason = why_not_bound(f"127.0.0.1:{sock.getsockname()[1]}")
    assert reason == "the address is in use: is another peer there? Port 0 selects any free port"


@pytest.mark.parametrize("address", ["192.0.2.1:7437", "[2001:db8::1]:7437"])
def test_address_of_another_host_is_named(address):
    reason = why_not_bound(address)
    if reason is not None and "Address family" in reason:
        pytest.skip("there is no IPv6 here")
    host = address.rpartition(":")[0].strip("[]")
    assert reason == f"{host} is not an address of this host; 0.0.0.0 selects all of them"


def test_host_name_that_does_not_exist_is_named():
    assert "cannot look up the host name 'no-such-host.invalid'" in why_not_bound("no-such-host.invalid:7437")


@pytest.mark.parametrize("host", ["a..b", "x" * 70])
def test_name_that_no_host_can_have_is_named(host):
    assert f"cannot look up the host name '{host}'" in why_not_bound(f"{host}:0")


def test_port_that_is_not_for_this_user_is_said(monkeypatch):
    def bind(_self, _address):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", bind)
    assert why_not_bound("127.0.0.1:80") == "this user may not listen on that port; choose one above 1023"


def test_reason_that_has_no_words_of_ours_is_that_of_the_system(monkeypatch):
    def bind(_self, _address):
        raise OSError(105, "No buffer space available")

    monkeypatch.setattr(socket.socket, "bind", bind)
    assert why_not_bound("127.0.0.1:80") == "No buffer space available"


def test_path_is_not_tried():
    assert why_not_bound("unix:/no/such/folder/peer") is None


@pytest.fixture
def interfaces(monkeypatch):
    texts = ["10.1.2.3", "169.254.7.7", "2001:db8::5", "fe80::1"]
    monkeypatch.setattr(listening, "addresses_here", lambda: [("eth0", ipaddress.ip_address(text)) for text in texts])


@pytest.mark.usefixtures("interfaces")
@pytest.mark.parametrize("address", ["unix:/run/peer", "10.1.2.3:7437", "localhost:7437", "[2001:db8::5]:7437"])
def test_one_address_is_reached_as_it_is(address):
    assert reachable(address) == (address,)


@pytest.mark.usefixtures("interfaces")
def test_all_addresses_of_the_protocol_are_those_that_other_hosts_can_use():
    assert reachable("0.0.0.0:7437") == ("10.1.2.3:7437",)
    assert reachable("[::]:7437") == ("10.1.2.3:7437", "[2001:db8::5]:7437")


def test_host_without_a_network_keeps_the_address(monkeypatch):
    monkeypatch.setattr(listening, "addresses_here", list)
    assert reachable("0.0.0.0:7437") == ("0.0.0.0:7437",)
