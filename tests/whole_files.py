"""Distribute tests to the processes of pytest-xdist: whole files, in the order in which they were collected."""

from __future__ import annotations

import os
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling


class WholeFiles(LoadFileScheduling):
    """
    pytest-xdist's `loadfile`, which also ends if a test kills its process.

    As of 3.8, `loadfile` gives all files that the lost process ever had to others; a process that gets a file without
    remaining tests never reports again.  The replacement of the lost process gets one file: if one test remains in it,
    the process waits forever for the next test.  And the test that killed its process is run again, and kills the next
    one.
    """

    def remove_node(self, node: Any) -> str | None:
        left: dict[str, dict[str, bool]] = {}
        lost = None  # tests run in this order, so the first unfinished one is the one that ran
        for file, tests in self.assigned_work.pop(node).items():
            for test, done in tests.items():
                if lost is None and not done:
                    lost = test
                elif not done:
                    left.setdefault(file, {})[test] = False
        self.workqueue = type(self.workqueue)(left | self.workqueue)
        for other in self.nodes:
            self._reschedule(other)
        return lost

    def _reschedule(self, node: Any) -> None:
        if node not in self.registered_collections or node.shutting_down:
            return
        # A process starts a test only when it knows the next one, or that there is none.
        while self.workqueue and self._pending_of(self.assigned_work[node]) <= 2:
            self._assign_work_unit(node)
        if not self.workqueue:
            node.shutdown()


def let_children_go(config: pytest.Config) -> None:
    """
    Make forked children of tests close this process's connection to the main process of pytest-xdist.

    Otherwise the main process would notice the end of this process only when the children have ended too.
    """
    (interactor,) = (plugin for plugin in config.pluginmanager.get_plugins() if hasattr(plugin, "channel"))
    connection = interactor.channel.gateway._io

    def let_go() -> None:
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, connection.infile.fileno(), inheritable=False)
        os.dup2(nothing, connection.outfile.fileno(), inheritable=False)
        os.close(nothing)

    os.register_at_fork(after_in_child=let_go)
