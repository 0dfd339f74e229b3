"""Tells PyInstaller what of woolexec belongs into a program: modules are imported when they are first needed."""

import os


def hook_dirs() -> list[str]:
    """Return the folder with the hooks; an entry point of the package names this function."""
    return [os.path.dirname(__file__)]
