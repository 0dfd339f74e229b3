"""Tells PyInstaller which modules of woolexec a program needs: many are imported only on first use."""

import os


def hook_dirs() -> list[str]:
    """Return the folder with the hooks; an entry point of the package names this function."""
    return [os.path.dirname(__file__)]
