import logging

import pytest


@pytest.fixture(autouse=True)
def state(monkeypatch, tmp_path):
    """The folder in which woolexec keeps this user's files: a new one for each test."""
    monkeypatch.setenv("WOOLEXEC_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture(autouse=True)
def log_as_before():
    """Restore the logging configuration that a peer in this process has changed."""
    root, own = logging.getLogger(), logging.getLogger("woolexec")
    handlers, levels = root.handlers[:], (root.level, own.level)
    yield
    root.handlers[:] = handlers
    for logger, level in zip((root, own), levels, strict=True):
        logger.setLevel(level)
    logging.captureWarnings(capture=False)
