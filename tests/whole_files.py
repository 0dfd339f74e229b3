"""How pytest-xdist gives the tests to its processes: whole files, in the order in which they were collected."""

from __future__ import annotations

import os
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling


class WholeFiles(LoadFileScheduling):
    """
    pytest-xdist's `loadfile`, which ends also when a test takes its process with it.

    As of 3.8, `loadfile` gives to others all files that the process ever had; who gets one in which no test is left to
    run is never heard of again.  The process that takes the place of the lost one gets one file: if one test is left
    in it, the process waits for ever to hear which test comes next.  And the test that took its process with it is run
    again, and takes the next one.
    """

    def remove_node(self, node: Any) -> str | None:
        left: dict[str, dict[str, bool]] = {}
        lost = None  # tests run in this order, so the first one that is not done is the one that ran
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
        # A process begins a test when it knows the next one, or that there is none.
        while self.workqueue and self._pending_of(self.assigned_work[node]) <= 2:
            self._assign_work_unit(node)
        if not self.workqueue:
            node.shutdown()


def let_children_go(config: pytest.Config) -> None:
    """
    Have children that a test forks not hold the connection of this process to that of pytest-xdist.

    That one would hear that this process has ended when they have, too.
    """
    (interactor,) = (plugin for plugin in config.pluginmanager.get_plugins() if hasattr(plugin, "channel"))
    connection = interactor.channel.gateway._io

    def let_go() -> None:
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, connection.infile.fileno(), inheritable=False)
        os.dup2(nothing, connection.outfile.fileno(), inheritable=False)
        os.close(nothing)

    os.register_at_fork(after_in_child=let_go)
