"""
A plugin for pytest with which joblib's own tests run with the backend "woolexec" too.

joblib makes the parameters of its tests from the backends that are registered when they are imported.
"""

import pytest

import woolexec.joblib

woolexec.joblib.register()

OTHERS = {
    "test_parallel_as_context_manager": "asks for `_pool` or `_workers` of the backend",
    "test_error_capture": "asks for `_pool` or `_workers` of the backend",
    "test_backend_context_manager": "knows the classes of joblib's own backends",
    "test_nested_loop[loky-woolexec]": "the backend is not registered in processes of loky",
    "test_nested_loop[back_compat_backend-woolexec]": "the backend is not registered in processes of loky",
}
"""Tests that do not apply, and why."""


def pytest_collection_modifyitems(items):
    for item in items:
        reason = OTHERS.get(item.name, OTHERS.get(item.name.partition("[")[0]))
        if reason:
            item.add_marker(pytest.mark.skip(reason=reason))
