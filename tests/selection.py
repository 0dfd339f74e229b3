"""Select which tests run when, and in which order."""

from __future__ import annotations

from collections import Counter
from zlib import crc32

import pytest

# Files with few and long tests: if one started last, its process would still be busy while the others are idle.
FIRST = (
    "tests/core/test_simulation.py",
    "tests/sim/test_sim.py",
    "tests/mesh/test_hosts.py",
    "tests/mesh/test_conformance.py",
    "tests/mesh/test_placement.py",
    "tests/mesh/test_everywhere.py",
    "tests/mesh/server/test_peer.py",
    "tests/mesh/server/test_session.py",
    "tests/faults/test_large.py",
    "tests/test_conftest.py",
    "tests/docs/test_examples.py",
    "tests/futures/test_delivery.py",
    "tests/faults/test_descriptors.py",
    "tests/faults/test_kinds_of_main.py",
    "tests/faults/test_scale.py",
    "tests/faults/test_signals.py",
    "tests/cli/test_demo.py",
    "tests/discovery/test_ssh.py",
    "tests/bench/test_bench.py",
    "tests/chaos/test_chaos.py",
    "tests/chaos/test_leftovers.py",
    "tests/faults/test_timeouts.py",
    "tests/faults/test_worker_death.py",
    "tests/graphs/test_submitting.py",
    "tests/integrations/test_joblib_backend.py",
    "tests/launchers/test_slurm.py",
    "tests/mesh/test_floods.py",
    "tests/mesh/test_neighbours.py",
    "tests/mesh/test_sshd.py",
    "tests/test_mpi.py",
)

# Files that `make test` omits although few of their tests are long: together they take two fifths of the processor
# time.  They run with the slow tests; the first ones depend on the version of Python or of a dependency.
VERSIONS = (
    "tests/aio/test_nested_async.py",
    "tests/conformance/test_asyncio.py",
    "tests/conformance/test_later_pythons.py",
    "tests/conformance/test_multiprocessing.py",
    "tests/conformance/test_pool.py",
    "tests/conformance/test_stdlib_pool.py",
    "tests/docs/test_examples.py",
    "tests/faults/test_environment.py",
    "tests/graphs/test_dask.py",
    "tests/integrations/",
    "tests/mesh/test_grpc_module.py",
)
LATER = (
    *VERSIONS,
    "tests/aio/test_streams_at_shutdown.py",
    "tests/api/test_inherited.py",
    "tests/api/test_task_actors.py",
    "tests/faults/test_destructors.py",
    "tests/faults/test_invariants.py",
    "tests/faults/test_large.py",
    "tests/faults/test_missing_names.py",
    "tests/faults/test_resources.py",
    "tests/fuzz/test_fuzz.py",
    "tests/launchers/test_batch.py",
    "tests/launchers/test_kubernetes.py",
    "tests/launchers/test_nodes.py",
    "tests/mesh/client/test_scaler.py",
    "tests/mesh/test_actor_handles.py",
    "tests/mesh/test_actor_values.py",
    "tests/mesh/test_actors.py",
    "tests/mesh/test_compression.py",
    "tests/mesh/test_devices.py",
    "tests/mesh/test_graphs.py",
    "tests/mesh/test_hosts.py",
    "tests/mesh/test_inputs.py",
    "tests/mesh/server/test_session.py",
    "tests/mesh/test_keep.py",
    "tests/mesh/test_lane.py",
    "tests/mesh/test_large.py",
    "tests/mesh/test_neighbours.py",
    "tests/mesh/test_placement.py",
    "tests/mesh/test_plain_results.py",
    "tests/mesh/test_put.py",
    "tests/mesh/test_secrets.py",
    "tests/mesh/test_settings.py",
    "tests/mesh/test_ship.py",
    "tests/mesh/test_supervision.py",
    "tests/mesh/test_value_faults.py",
    "tests/test_conftest.py",
)

# Files that depend neither on the version of Python nor on a dependency: simulations, documents, the tests' own tools.
ONCE = (
    "tests/bench/",
    "tests/chaos/",
    "tests/core/test_actors.py",
    "tests/core/test_devices.py",
    "tests/core/test_lane_simulation.py",
    "tests/core/test_simulation.py",
    "tests/docs/test_cloud_page.py",
    "tests/docs/test_container.py",
    "tests/docs/test_contributing_page.py",
    "tests/docs/test_design_page.py",
    "tests/docs/test_faults_page.py",
    "tests/docs/test_grafana.py",
    "tests/docs/test_manifests.py",
    "tests/docs/test_promise_tables.py",
    "tests/docs/test_threads.py",
    "tests/engine/test_lineage.py",
    "tests/sim/",
    "tests/test_layers.py",
    "tests/test_mutate.py",
    "tests/test_packaging.py",
    "tests/test_release.py",
)

# Number of combinations of a `matrix` test that run without the slow tests.
FEW = 3


def thin_out(items: list[pytest.Item]) -> None:
    """Mark as slow the tests that run later, and all but a few combinations of parameters of each `matrix` test."""
    tests: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.nodeid.startswith(LATER):
            item.add_marker(pytest.mark.slow)
        if item.nodeid.startswith(VERSIONS):
            item.add_marker(pytest.mark.versions)
        if item.nodeid.startswith(ONCE):
            item.add_marker(pytest.mark.once)
        if item.get_closest_marker("matrix"):
            tests.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for name, combinations in tests.items():
        number, first = len(combinations), crc32(name.encode())
        chosen = {(first + number * each // FEW) % number for each in range(FEW)}
        for index, item in enumerate(combinations):
            if index not in chosen:
                item.add_marker(pytest.mark.slow)


def sort(items: list[pytest.Item]) -> None:
    """Put the files into the order in which the processes of pytest-xdist get them."""
    sizes = Counter(item.path for item in items)
    items.sort(key=lambda item: (not item.nodeid.startswith(FIRST), -sizes[item.path]))
