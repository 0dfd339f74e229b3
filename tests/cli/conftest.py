import pytest


@pytest.fixture(autouse=True)
def state(monkeypatch, tmp_path):
    """The folder in which woolexec keeps what is this user's: one for each test."""
    monkeypatch.setenv("WOOLEXEC_STATE", str(tmp_path / "state"))
    return tmp_path / "state"
