"""The scripts and units of docs/cloud.md."""

import configparser
import http.server
import os
import re
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from tests.docs.test_manifests import settings_of

PAGE = Path(__file__).parents[2] / "docs" / "cloud.md"
PATIENCE = 30.0


def fences(kind):
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def unit(text):
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str
    parser.read_string(text)
    return parser


START, SPOT = fences("sh")
(UNIT,) = re.findall(r"woolexec\.service <<'EOF'\n(.*?)^EOF", START, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("script", [START, SPOT], ids=["start", "spot"])
def test_script_is_one_of_a_plain_shell(script, tmp_path):
    (tmp_path / "script").write_text(script)
    subprocess.run(["/bin/sh", "-n", str(tmp_path / "script")], check=True, timeout=PATIENCE)


def test_service_serves_with_settings_that_there_are_and_has_time_to_drain():
    service = unit(UNIT)["Service"]
    program, command, *arguments = service["ExecStart"].split()
    assert (program, command) == ("/opt/woolexec/bin/woolexec", "serve")
    settings = settings_of(arguments, {})
    assert settings["token-file"] == "/etc/woolexec/token"
    assert settings["drain-timeout"] < int(service["TimeoutStopSec"]) < 120  # the notice of Amazon


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="not installed: systemd-analyze")
def test_units_are_what_systemd_takes(tmp_path):
    for name, text in (("woolexec.service", UNIT), ("woolexec-spot.service", fences("ini")[0])):
        (tmp_path / name).write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", text, flags=re.MULTILINE))
        subprocess.run(["systemd-analyze", "verify", str(tmp_path / name)], check=True, timeout=PATIENCE)


@pytest.mark.skipif(shutil.which("curl") is None, reason="not installed: curl")
def test_peer_is_ended_when_the_metadata_service_says_so_and_not_before(tmp_path):
    asked = []

    class Metadata(http.server.BaseHTTPRequestHandler):
        def do_PUT(self):
            self.answer(200, b"secret")

        def do_GET(self):
            assert self.headers["X-aws-ec2-metadata-token"] == "secret"
            asked.append(self.path)
            self.answer(404 if len(asked) < 3 else 200, b'{"action": "terminate"}')

        def answer(self, code, body):
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    (tmp_path / "systemctl").write_text(f'#!/bin/sh\necho "$@" >{tmp_path}/said\n')
    (tmp_path / "systemctl").chmod(0o700)
    server = http.server.HTTPServer(("127.0.0.1", 0), Metadata)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        where = f"http://127.0.0.1:{server.server_address[1]}"
        env = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "METADATA": where, "INTERVAL": "0.01"}
        subprocess.run(["/bin/sh", "-c", SPOT], env=env, check=True, timeout=PATIENCE)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert asked == ["/latest/meta-data/spot/instance-action"] * 3
    assert (tmp_path / "said").read_text() == "stop woolexec.service\n"
