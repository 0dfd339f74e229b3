import platform
import subprocess
import sys
from importlib.metadata import version

import pytest

from woolexec import cli


def test_version_names_woolexec_and_python(capsys):
    assert cli.main(["version"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"woolexec {version('woolexec')} ")
    assert platform.python_version() in out


@pytest.mark.parametrize("arguments", [["fly"], ["certs"], ["demo", "--workers", "0"], ["demo", "--limit", "many"]])
def test_wrong_arguments_are_said_with_exit_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert "usage: woolexec" in capsys.readouterr().err


def test_version_is_an_option_as_well(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith(f"woolexec {version('woolexec')} ")


def test_command_alone_prints_its_help(capsys):
    assert cli.main([]) == 0
    assert capsys.readouterr().out == cli.parser().format_help()


def test_modules_of_other_commands_are_not_loaded():
    others = ["certs", "peers", "serve", "stack", "timeline", "top"]
    program = "import sys, woolexec.cli; woolexec.cli.main(['version']); print(*sys.modules)"
    said = subprocess.run([sys.executable, "-c", program], check=True, text=True, stdout=-1).stdout.split()
    assert "woolexec.cli" in said
    assert not {f"woolexec.cli.{name}" for name in others} & set(said)


@pytest.mark.parametrize(
    "command",
    [
        "demo",
        "serve",
        "version",
        "completion",
        "peers",
        "doctor",
        "stack",
        "top",
        "timeline",
        "certs init",
        "certs issue",
        "certs revoke",
        "certs token",
    ],
)
def test_each_command_prints_its_help(command, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([*command.split(), "--help"])
    assert ended.value.code == 0
    assert f"usage: woolexec {command}" in capsys.readouterr().out


def test_reader_that_goes_away_is_no_error():
    command = f"{sys.executable} -m woolexec completion bash | true"
    ran = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=True)
    assert ran.stderr == ""


def test_interrupt_ends_with_exit_code_130(monkeypatch, capsys):
    def interrupted(_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_version", interrupted)
    assert cli.main(["version"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_runs_as_a_module():
    ran = subprocess.run([sys.executable, "-m", "woolexec", "version"], capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("woolexec ")
