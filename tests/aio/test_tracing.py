"""Traces of OpenTelemetry; each test runs a separate program, because a tracer provider can be set only once."""

import json
import subprocess
import sys

PROGRAM = """
import asyncio, json, sys
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from woolexec import PeerPoolExecutor, current_executor

spans = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(spans))
trace.set_tracer_provider(provider)

def provide():
    trace.set_tracer_provider(TracerProvider())

def here():
    context = trace.get_current_span().get_span_context()
    return f"{context.trace_id:x}", trace.get_current_span().name, f"{trace.get_current_span().parent.span_id:x}"

async def here_async():
    await asyncio.sleep(0)
    return here()

def each():
    yield here()

async def each_async():
    yield here()

def nested():
    return current_executor().submit(here).result()

async def main():
    with trace.get_tracer("test").start_as_current_span("outer") as outer:
        async with PeerPoolExecutor(1, initializer=provide) as pool:
            ran = [await pool.run(here), await pool.run(here_async), await pool.run(nested), *pool.map(here_of, [1])]
            for generator in (each, each_async):
                async with pool.stream(generator) as items:
                    ran += [item async for item in items]
    ids = {span.name: f"{span.context.span_id:x}" for span in spans.get_finished_spans()}
    print(json.dumps([f"{outer.get_span_context().trace_id:x}", ids, ran]))

def here_of(_):
    return here()

asyncio.run(main())
"""


def test_trace_context_goes_with_tasks_and_both_ends_have_a_span():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stderr
    trace_id, ids, ran = json.loads(done.stdout)
    assert [each[0] for each in ran] == [trace_id] * 6
    assert [each[1] for each in ran] == [
        "run here",
        "run here_async",
        "run here",
        "run here_of",
        "run each",
        "run each_async",
    ]
    assert ran[0][2] == ids["submit here"]
    assert ran[1][2] == ids["submit here_async"]
    assert ran[4][2] == ids["submit each"]
    assert ran[5][2] == ids["submit each_async"]


def test_without_it_nothing_of_it_is_imported():
    code = (
        "import sys\nfrom woolexec import PeerPoolExecutor\n"
        "with PeerPoolExecutor(1) as pool: pool.submit(abs, 1).result()\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "[]\n", done.stderr
