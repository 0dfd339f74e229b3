"""woolexec in one file, as pex and shiv make it, and in an executable that PyInstaller makes; nothing is downloaded."""

import contextlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import woolexec
from woolexec import Credentials

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PROGRAM = """
import sys
import woolexec

woolexec.freeze_support()

from woolexec import Credentials, PeerPoolExecutor


def square(number):
    return number * number


def where():
    return woolexec.__file__


how = {"max_workers": 2}
if len(sys.argv) > 1:
    how = {"peers": sys.argv[1], "credentials": Credentials(sys.argv[2].encode())}
with PeerPoolExecutor(**how) as pool:
    print(sum(pool.map(square, range(100))), pool.submit(where).result())
"""


def needs(name):
    return pytest.mark.skipif(importlib.util.find_spec(name) is None, reason=f"not installed: {name}")


def environment(variables):
    """Return the environment of a program that is not to find the woolexec of the tests."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | variables


def run(command, folder, **variables):
    ran = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env=environment(variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    return ran.stdout


def requirements(name, seen):
    """Add a distribution that is installed, and those that it requires."""
    if name in seen:
        return
    seen.add(name)
    for text in importlib.metadata.requires(name) or ():
        if ";" not in text:
            requirements(re.match(r"[\w.-]+", text)[0], seen)


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """A folder with woolexec and what it requires, as they are installed here."""
    folder = tmp_path_factory.mktemp("packages")
    shutil.copytree(Path(woolexec.__file__).parent, folder / "woolexec", ignore=shutil.ignore_patterns("__pycache__"))
    names = set()
    requirements("woolexec", names)
    for name in names | {"typing_extensions"}:
        for file in importlib.metadata.files(name) or ():
            source = file.locate()
            is_ours = name == "woolexec" and not file.parts[0].endswith(".dist-info")  # it may be installed as a link
            if not (is_ours or ".." in file.parts or "__pycache__" in file.parts) and source.exists():
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, folder / file)
    return folder


@contextlib.contextmanager
def serving(file, folder, **variables):
    """Serve from a file, for a block; yield the address and the token."""
    token = Credentials.with_new_token().token.decode()
    private = folder / "private"
    private.mkdir(0o700)
    command = [file, "serve", f"--bind=unix:{private}/peer", "--workers=1", "--token-file=-", "--lifeline", "--json"]
    with subprocess.Popen(command, env=environment(variables), stdin=-1, stdout=-1, text=True) as peer:
        peer.stdin.write(f"{token}\n")
        peer.stdin.flush()
        assert "address" in peer.stdout.readline()
        yield f"unix:{private}/peer", token
        peer.stdin.close()


def check(file, folder, variables, mode):
    """Check that a file serves, is a client, and starts workers, all with the woolexec in it."""
    (folder / "program.py").write_text(PROGRAM)
    assert run([file, "--version"], folder, **variables).startswith("woolexec ")
    assert run([file, "demo", "--peers", "1", "--limit", "20"], folder, **variables)
    client = {**variables, mode: "1"}
    with serving(file, folder, **variables) as (address, token):
        for arguments in ([], [address, token]):
            total, where = run([file, "program.py", *arguments], folder, **client).split()
            assert total == "328350"
            assert not where.startswith(os.path.dirname(woolexec.__file__))


@needs("pex")
def test_pex_serves_and_is_a_client(packages, tmp_path):
    file = tmp_path / "woolexec.pex"
    variables = {"PEX_ROOT": str(tmp_path / "root")}
    run([sys.executable, "-m", "pex", "-D", packages, "-e", "woolexec.cli:main", "-o", file], tmp_path, **variables)
    check(file, tmp_path, variables, "PEX_INTERPRETER")


@needs("shiv")
def test_shiv_serves_and_is_a_client(packages, tmp_path):
    file = tmp_path / "woolexec.pyz"
    variables = {"SHIV_ROOT": str(tmp_path / "root")}
    command = [sys.executable, "-m", "shiv", "--site-packages", packages, "-e", "woolexec.cli:main", "-o", file]
    run([*command, "-p", sys.executable], tmp_path, **variables)
    check(file, tmp_path, variables, "SHIV_INTERPRETER")


@needs("PyInstaller")
def test_frozen_program_starts_its_workers_from_itself(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    hooks = Path(woolexec.__file__).parent / "integrations" / "pyinstaller"
    command = ["--log-level=ERROR", "--additional-hooks-dir", hooks, "program.py"]
    run([sys.executable, "-m", "PyInstaller", *command], tmp_path, PYTHONPATH=str(Path(woolexec.__file__).parents[1]))
    total, where = run([tmp_path / "dist" / "program" / "program"], tmp_path).split()
    assert total == "328350"
    assert where.startswith(str(tmp_path))
