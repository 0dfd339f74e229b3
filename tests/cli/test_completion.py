"""The completion scripts for shells, and completion in bash with its script."""

import shutil
import subprocess

import pytest

from woolexec import cli


def script_for(shell, capsys):
    assert cli.main(["completion", shell]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["d"], {"demo", "doctor"}),
        (["certs", "i"], {"init", "issue"}),
        (["certs", "issue", "p"], {"peer"}),
        (["serve", "--tls-c"], {"--tls-ca", "--tls-cert"}),
        (["serve", "--workers", "2", "--log"], {"--log-format", "--log-level"}),
        (["completion", "f"], {"fish"}),
    ],
)
@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
def test_bash_completes_commands_and_options(words, found, capsys):
    line = " ".join(["woolexec", *words])
    call = f'COMP_WORDS=({line}); COMP_CWORD={len(words)}; _woolexec; echo "${{COMPREPLY[@]}}"'
    ran = subprocess.run(
        ["bash", "-c", f"{script_for('bash', capsys)}\n{call}"], capture_output=True, text=True, check=True, timeout=20
    )
    assert set(ran.stdout.split()) == found
    assert ran.stderr == ""


def test_zsh_takes_the_script_of_bash(capsys):
    first, rest = script_for("zsh", capsys).split("\n", 1)
    assert "bashcompinit" in first
    assert rest == script_for("bash", capsys)


def test_fish_is_told_each_word_with_its_meaning(capsys):
    lines = script_for("fish", capsys).splitlines()
    assert [line for line in lines if line.endswith("-fa doctor -d 'check each step of connecting to a peer'")]
    assert [line for line in lines if "__fish_seen_subcommand_from serve" in line and "-l drain-timeout" in line]
