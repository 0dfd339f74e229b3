"""The hook for PyInstaller; tests/integrations/test_one_file.py makes a program with it."""

import runpy
from pathlib import Path

import pytest

from woolexec.integrations.pyinstaller import hook_dirs

pytest.importorskip("PyInstaller")


def test_modules_that_are_imported_late_are_in_a_program_and_doors_to_other_libraries_are_not():
    [folder] = hook_dirs()
    imports = runpy.run_path(str(Path(folder) / "hook-woolexec.py"))["hiddenimports"]
    assert {"cloudpickle", "woolexec.worker.fork_server", "woolexec.mesh.client.link", "woolexec.cli.serve"} <= set(
        imports
    )
    assert not any(
        name.startswith(("woolexec.joblib", "woolexec.eventkit", "woolexec.integrations")) for name in imports
    )
    assert "woolexec.launchers.slurm" in imports
    assert not any(name.endswith(("ray_nodes", "dask_nodes", "kubernetes_client")) for name in imports)
