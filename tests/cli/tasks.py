"""Tasks that the tests of the command line show."""

from tests.faults.tasks import eventually


def wait_for(path):
    """Tell by a file beside this one that the task runs, and wait for this one."""
    path.with_suffix(".here").touch()
    assert eventually(path.exists)
