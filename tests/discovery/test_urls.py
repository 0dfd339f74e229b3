from importlib.metadata import EntryPoint

import pytest

from woolexec import Discovery
from woolexec.discovery import urls
from woolexec.discovery.directory import Directory
from woolexec.discovery.dns import Dns
from woolexec.discovery.lan import Lan
from woolexec.discovery.ssh import Ssh
from woolexec.discovery.static import Static
from woolexec.discovery.urls import check_address, discoveries


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("host:1234", "host:1234"),
        ("host", "host:7437"),
        ("10.0.0.1", "10.0.0.1:7437"),
        ("[fd00::1]:1234", "[fd00::1]:1234"),
        ("fd00::1", "[fd00::1]:7437"),
        ("[fd00::1]", "[fd00::1]:7437"),
        ("unix:/run/peer", "unix:/run/peer"),
    ],
)
def test_address_has_a_port(given, meant):
    assert check_address(given) == meant


@pytest.mark.parametrize(
    "address",
    ["", ":1", "host:", "host:http", "host:0", "host:70000", "unix:relative", "unix:", "a:b:c", "a/b:1", "[x]:1"],
)
def test_what_is_no_address_is_an_error_that_shows_it(address):
    with pytest.raises(ValueError, match=r"address|path|port"):
        check_address(address)


def test_one_address_several_urls_and_objects_are_peers():
    class Own(Discovery):
        def watch(self):
            raise NotImplementedError

    own = Own()
    assert [type(each) for each in discoveries("host:1")] == [Static]
    assert discoveries(own) == [own]
    found = discoveries(["a:1", "lan://team", own, "b:2", "dir:/shared?pool=x", "dns://pods:99", "ssh://me@far:2222/8"])
    kinds = [type(each) for each in found]
    assert kinds == [Static, Lan, Own, Directory, Dns, Ssh]
    static, lan, _, folder, dns, ssh = found
    assert static.addresses == ("a:1", "b:2")
    assert lan.pool == "team"
    assert (folder.path, folder.pool) == ("/shared", "x")
    assert (dns.name, dns.port) == ("pods", 99)
    assert (ssh.host, ssh.port, ssh.workers, ssh.python) == ("me@far", 2222, 8, None)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nfs://x", "no discovery is called 'nfs'"),
        ("dir:", "dir: needs a path"),
        ("dir:/x?colour=red", "colour= is not an option"),
        ("lan://team/more", "nothing else"),
        ("dns://", "needs a name"),
        ("dns://x:port", "port"),
        ("ssh://", "takes"),
        ("ssh://me:secret@host", "no password"),
        ("ssh://host/many", "not a number"),
        ("ssh://host/0", "not a number"),
        ("ssh://-oProxyCommand=x/1", "not the name of a host"),
    ],
)
def test_url_that_makes_no_sense_is_an_error_that_says_why(url, message):
    with pytest.raises(ValueError, match=message):
        discoveries(url)


@pytest.mark.parametrize("url", ["h:{}", "[::1]:{}", "ssh://h:{}", "dns://h:{}", "ssh://h/{}"])
def test_port_of_very_many_digits_is_an_error_that_says_so_in_short(url):
    with pytest.raises(ValueError, match=r"a port is between 1 and 65535|not a number of workers") as caught:
        discoveries(url.format("9" * 5000))
    assert len(str(caught.value)) < 600


def test_packages_may_offer_other_ways(monkeypatch):
    entry = EntryPoint("consul", "tests.discovery.test_urls:offered", urls.GROUPS[0])
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **asked: [entry] if asked["name"] == "consul" else [])
    (found,) = discoveries("consul://catalog/team")
    assert found.addresses == ("consul://catalog/team",)


def offered(url):
    return Static([url])


def test_braces_in_the_name_of_a_host_stand_for_several():
    found = discoveries(["node{1..2}:7", "ssh://ada@{x,y}.lab/4?jump=gate", "unix:/run/{a,b}"])
    assert found[0].addresses == ("node1:7", "node2:7", "unix:/run/{a,b}")
    assert [(each.host, each.workers, each.jump) for each in found[1:]] == [
        ("ada@x.lab", 4, "gate"),
        ("ada@y.lab", 4, "gate"),
    ]


@pytest.mark.parametrize("wrong", ["ssh://node{1..}/4", "ssh://host?jump=-oProxyCommand=x"])
def test_fleet_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValueError):
        discoveries(wrong)
