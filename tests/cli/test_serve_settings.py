import json

import pytest

from tests.cli.serving import certificates
from tests.tokens import token_for
from woolexec import cli
from woolexec.cli.serve_settings import SETTINGS


@pytest.mark.parametrize(
    "setting",
    [
        ["--resource", "gpu=many"],
        ["--resource", "gpu"],
        ["--resource", "gpu=0.5"],
        ["--allow", "abs"],
        ["--allow", "os:system; true"],
        ["--peers", "nfs://x"],
        ["--audit", "/no/such/folder/audit"],
        ["--workers", "65537"],
        ["--workers", "9" * 40],
        ["--advertise", "node7:7437"],
        ["--insecure", "--token-file", "/dev/null"],
        ["--insecure", "--tls-ca", "/dev/null"],
        ["--config", "/dev/zero"],
        ["--store-limit", "0"],
        ["--spill-dir", "/no/such/folder"],
    ],
)
def test_setting_that_makes_no_sense_is_refused(setting, capsys):
    assert cli.main(["serve", *setting]) == 2
    assert "woolexec serve: " in capsys.readouterr().err


def test_gpus_that_this_process_does_not_see_are_said_in_one_line(monkeypatch, capsys):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert cli.main(["serve", "--resource", "gpu=2"]) == 2
    said = "woolexec serve: resources: gpu=2, but CUDA_VISIBLE_DEVICES=0 leaves this process 1\n"
    assert capsys.readouterr().err == said


FILES = ["token-file", "tls-ca", "tls-cert", "tls-key", "tls-revoked", "audit"]
"""Settings that protect a peer, and name files."""


def settings_of(tmp_path):
    files = certificates(tmp_path)
    (tmp_path / "revoked.txt").write_text("# none\n")
    (tmp_path / "token").write_bytes(token_for("this test"))
    (tmp_path / "token").chmod(0o600)
    names = {"tls-ca": "ca.pem", "tls-cert": "peer.pem", "tls-key": "peer.key"}
    settings = {name: files[file] for name, file in names.items()}
    settings |= {"tls-revoked": tmp_path / "revoked.txt", "token-file": tmp_path / "token", "audit": tmp_path / "audit"}
    return {name: str(path) for name, path in settings.items()}


def refused(settings, how, monkeypatch, tmp_path):
    arguments = ["serve"] if "bind" in settings else ["serve", "--bind", "127.0.0.1:0"]
    for name, value in settings.items():
        if how == "argument":
            arguments += [f"--{name}={value}"]
        elif how == "environment":
            (setting,) = (each for each in SETTINGS if each.name == name)
            monkeypatch.setenv(setting.variable, value)
    if how == "file":
        lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
        (tmp_path / "peer.toml").write_text("\n".join(lines))
        arguments += ["--config", str(tmp_path / "peer.toml")]
    return cli.main(arguments) == 2


@pytest.mark.parametrize("how", ["argument", "environment", "file"])
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("value", ["", "/nowhere/at/all", "/proc"])
def test_file_that_is_missing_or_wrong_never_means_less_protection(name, value, how, monkeypatch, tmp_path, capsys):
    assert refused(settings_of(tmp_path) | {name: value}, how, monkeypatch, tmp_path)
    assert value in capsys.readouterr().err


@pytest.mark.parametrize("how", ["argument", "environment", "file"])
@pytest.mark.parametrize(
    "half", [["tls-ca"], ["tls-cert"], ["tls-key"], ["tls-revoked"], ["tls-ca", "tls-cert"], ["tls-ca", "tls-key"]]
)
def test_half_of_the_settings_for_tls_is_refused(half, how, monkeypatch, tmp_path, capsys):
    settings = settings_of(tmp_path)
    assert refused({name: settings[name] for name in half}, how, monkeypatch, tmp_path)
    assert "must be given together" in capsys.readouterr().err


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_every_setting_without_a_value_is_an_error(setting, monkeypatch, tmp_path, capsys):
    assert refused({setting.name: ""}, "environment", monkeypatch, tmp_path)
    assert f"{setting.variable} is empty" in capsys.readouterr().err
    monkeypatch.delenv(setting.variable)
    assert refused({setting.name: [] if setting.many else ""}, "file", monkeypatch, tmp_path)
    assert f"{setting.name} is empty" in capsys.readouterr().err
