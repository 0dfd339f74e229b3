import signal

import pytest

from woolexec.engine.diagnostics import describe_exit


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (None, "was lost"),
        (0, "exited with code 0"),
        (3, "exited with code 3"),
        (-signal.SIGKILL, "was killed by SIGKILL"),
        (-250, "was killed by signal 250"),
    ],
)
def test_exit_is_said_in_words(code, text):
    assert describe_exit(code) == text
