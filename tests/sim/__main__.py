"""Simulate more and larger worlds than the tests do, draw them, and write the table into docs/placement.md."""

import argparse
import random
import re
from pathlib import Path

from tests.sim.model import Scenario, World, ideal
from tests.sim.scaling import WORKLOADS, Fleet, all_knowing
from woolexec import PeerPoolExecutor
from woolexec.core.policies import IdleFirst, LeastOutstanding, PowerOfTwoChoices, RoundRobin

DOCS = Path(__file__).parents[2] / "docs"
TABLE = re.compile(r"(<!-- simulated -->\n).*?(<!-- end -->)", re.DOTALL)
OF_SCALING = re.compile(r"(<!-- scaling -->\n).*?(<!-- end -->)", re.DOTALL)
OF_VALUES = re.compile(r"(<!-- values -->\n).*?(<!-- end -->)", re.DOTALL)
POLICIES = {
    "default": IdleFirst,
    "two choices": PowerOfTwoChoices,
    "least outstanding": LeastOutstanding,
    "round robin": RoundRobin,
}


class Blind(IdleFirst):
    """The default, if it did not know where values are."""

    weighs_bytes = False


class AtRandom(RoundRobin):
    """Any peer."""

    def choose(self, candidates, task):
        return random.choice(candidates)


PLACEMENTS = {"default": IdleFirst, "the same, blind": Blind, "at random": AtRandom}
COMPARED = 1000
"""Workers up to which the other policies are simulated as well."""

SIZES = {1000: {"clients": 50, "tasks": 30_000}, 10_000: {"clients": 200, "tasks": 50_000, "width": 16}}


def scenarios():
    for workers, size in SIZES.items():
        for load in (0.7, 0.9):
            for heavy in (False, True):
                yield Scenario(workers=workers, load=load, heavy=heavy, **size)
    yield Scenario(uneven=True, load=0.7, **SIZES[1000])
    yield Scenario(clients=200, tasks=30_000)
    yield Scenario(deaths=0.0005, **SIZES[1000])
    yield Scenario(workers=10_000, clients=200, tasks=50_000)
    yield Scenario(mean=0.1, **SIZES[1000])


def describe(scenario):
    """Say what is simulated in one line."""
    peers = scenario.workers // scenario.width
    words = [f"{scenario.workers:,} workers on {peers:,} peers, {scenario.clients} clients, load {scenario.load}"]
    words.append("5 % of the tasks take 100 times as long" if scenario.heavy else "exponential tasks")
    words += ["a tenth of the clients submits half"] if scenario.uneven else []
    words += [f"{scenario.deaths * peers:g} peers die each second"] if scenario.deaths else []
    words += [f"mean run time {scenario.mean:g} s"] if scenario.mean != 1.0 else []
    return "; ".join(words)


def simulate(scenario, policy):
    """Return the figures of one policy, or of the ideal queue for None; times in mean run times."""
    outcome = ideal(scenario) if policy is None else World(scenario, POLICIES[policy]).run()
    times = sorted(outcome.times)
    parts = [times[min(len(times) - 1, int(len(times) * part / 1000))] / scenario.mean for part in range(0, 1000, 2)]
    return {
        "p99": outcome.percentile(0.99) / scenario.mean,
        "mean": outcome.mean / scenario.mean,
        "messages": outcome.messages_per_task,
        "unfairness": outcome.unfairness,
        "parts": parts,
    }


def with_values():
    """Yield what the tasks need, and the scenario."""
    size = {"workers": 100, "width": 10, "clients": 5, "links": 10, "tasks": 20_000}
    for load in (0.5, 0.7, 0.9):
        yield "one of 20 values", Scenario(load=load, values=20, **size)
    for load in (0.5, 0.7, 0.9):
        yield "the last outcome of a chain of 10", Scenario(load=load, chain=10, **size)


def simulate_values(scenario, placement):
    """Return how many values were sent, and the p99 in mean run times; for None those of an all-knowing placement."""
    if placement is None:  # each value goes to one peer, ahead of its tasks, which find a free worker; outcomes stay
        return scenario.clients * scenario.values, ideal(scenario).percentile(0.99) / scenario.mean
    random.seed(scenario.seed)
    outcome = World(scenario, PLACEMENTS[placement]).run()
    return outcome.moved, outcome.percentile(0.99) / scenario.mean


def table_of_values():
    """Write what was sent, and how long tasks took, as a table."""
    lines = ["| a task needs | load | placement | values sent | p99 |", "| --- | --- | --- | --- | --- |"]
    for needed, scenario in with_values():
        for placement in (None, *PLACEMENTS):
            moved, p99 = simulate_values(scenario, placement)
            lines.append(f"| {needed} | {scenario.load} | {placement or 'all-knowing'} | {moved:,} | {p99:.1f} |")
    return "\n".join(lines) + "\n"


def scaling_rows():
    """Write what peers that come when there is work cost, and how long calls wait for them, as a table."""
    lines = [
        "| simulated | peer-seconds | all-knowing | p95 of the wait, s | all-knowing | starts |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, workload in WORKLOADS.items():
        ours, best = Fleet(workload).run(), all_knowing(workload)
        lines.append(
            f"| {name} | {ours.paid:,.0f} | {best.paid:,.0f} | {ours.p95:,.1f} | {best.p95:,.1f} | {ours.starts} |"
        )
    return "\n".join(lines) + "\n"


def draw(found):
    """Draw how long how many tasks took, for the hardest scenario."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "woolexec"
    from matplotlib import pyplot as plt

    chosen = [scenario for scenario in found if scenario.heavy and scenario.load == 0.9]
    figure, axes = plt.subplots(1, len(chosen), figsize=(11, 4.2), sharey=True)
    for axis, scenario in zip(axes, chosen, strict=True):
        for name, figures in found[scenario].items():
            slower = [1 - part / 500 for part in range(500)]
            style = {"color": "black", "linestyle": "--"} if name == "ideal" else {}
            axis.plot(figures["parts"], slower, label="one queue for all (ideal)" if name == "ideal" else name, **style)
        axis.set(xscale="log", yscale="log", xlabel="from submit to outcome, in mean run times")
        axis.set_title(describe(scenario).replace("; ", ";\n"), fontsize=8)
        axis.grid(visible=True, which="both", alpha=0.2)
    axes[0].set_ylabel("part of the tasks that took longer")
    axes[-1].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(DOCS / "placement.svg", metadata={"Date": None})


def table(found):
    """Write the figures as a table."""
    lines = [
        "| simulated | ideal p99 | p99 | of ideal | messages a task | slowest client (ideal) | p99 of other policies |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for scenario, by_policy in found.items():
        ours, best = by_policy["default"], by_policy["ideal"]
        others = ", ".join(
            f"{by_policy[name]['p99']:.1f}" for name in POLICIES if name in by_policy and name != "default"
        )
        lines.append(
            f"| {describe(scenario)} | {best['p99']:.1f} | {ours['p99']:.1f} | {ours['p99'] / best['p99']:.2f} "
            f"| {ours['messages']:.1f} | {ours['unfairness']:.2f} ({best['unfairness']:.2f}) | {others} |"
        )
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write docs/placement.md and docs/placement.svg")
    write = parser.parse_args().write
    of_values = table_of_values()
    print(of_values)
    of_scaling = scaling_rows()
    print(of_scaling)
    found = {}
    with PeerPoolExecutor() as pool:
        jobs = {
            (scenario, name): pool.submit(simulate, scenario, None if name == "ideal" else name)
            for scenario in scenarios()
            for name in ("ideal", *POLICIES)
            if name in ("ideal", "default") or scenario.workers <= COMPARED
        }
        for (scenario, name), future in jobs.items():
            found.setdefault(scenario, {})[name] = future.result()
            if name == "default":
                print(table({scenario: found[scenario]}).splitlines()[-1], flush=True)
    if write:
        page = DOCS / "placement.md"
        text = page.read_text(encoding="utf-8")
        text = TABLE.sub(lambda match: match[1] + table(found) + match[2], text)
        text = OF_SCALING.sub(lambda match: match[1] + of_scaling + match[2], text)
        page.write_text(OF_VALUES.sub(lambda match: match[1] + of_values + match[2], text), encoding="utf-8")
        draw(found)


if __name__ == "__main__":
    main()
