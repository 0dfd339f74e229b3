"""
Modules that a peer imports at its start, although its engines need them only for some requests.

An import needs a descriptor, and a client may have taken the last one: the failure would end the thread of all engines.
"""

import woolexec.core.demand
import woolexec.core.offering
import woolexec.core.peer_devices
import woolexec.core.pinning
import woolexec.core.policies
import woolexec.core.ranked
import woolexec.core.sharing
import woolexec.engine.actors
import woolexec.engine.gpus
import woolexec.engine.idle_watch
import woolexec.engine.links
import woolexec.engine.memory_watch
import woolexec.engine.progress_reports
import woolexec.engine.recorder
import woolexec.engine.said
import woolexec.engine.snapshot
import woolexec.engine.stacks
import woolexec.engine.task_end
import woolexec.wire.culprit
import woolexec.wire.spare_files
import woolexec.wire.stack_area  # noqa: F401
