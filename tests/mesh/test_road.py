"""How grpc is loaded."""

import subprocess
import sys

import pytest

PROGRAM = """
import os
{before}
from woolexec.mesh import road
road._SETTINGS = {{"GRPC_EXPERIMENTS": "-nothing_of_the_kind"}}  # grpc says on stderr that it does not know it
road._MEASURED = {measured}
assert road.load_grpc().aio
print(os.environ.get("GRPC_EXPERIMENTS"))
"""


def loaded(before="", measured='("",)'):
    program = PROGRAM.format(before=before, measured=measured)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.strip(), "nothing_of_the_kind" in done.stderr


def test_grpc_is_loaded_with_our_settings_which_nobody_else_sees():
    assert loaded() == ("None", True)


@pytest.mark.parametrize(
    ("before", "left"),
    [("import grpc", "None"), ("os.environ['GRPC_EXPERIMENTS'] = '-event_engine_listener'", "-event_engine_listener")],
)
def test_program_that_has_loaded_grpc_or_has_settings_keeps_its_own(before, left):
    assert loaded(before) == (left, False)


def test_versions_that_were_not_measured_are_left_alone():
    assert loaded(measured="('0.1.',)") == ("None", False)
