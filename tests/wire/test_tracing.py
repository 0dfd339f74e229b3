"""OpenTelemetry is a stand-in here: its modules must not stay imported in the process of other tests."""

import contextlib
import sys
from types import ModuleType, SimpleNamespace

import pytest

from woolexec.wire import tracing

NAMES = ("opentelemetry", "opentelemetry.trace", "opentelemetry.propagate")


class Telemetry:
    """Keeps the spans that are begun, and the one that is current."""

    SpanKind = SimpleNamespace(PRODUCER="producer", CONSUMER="consumer")

    def __init__(self):
        self.spans = []
        self.current = None

    def get_tracer(self, name):
        assert name == "woolexec"
        return self

    @contextlib.contextmanager
    def start_as_current_span(self, name, *, kind, context=None):
        self.spans.append((name, kind, context))
        self.current = name
        yield
        self.current = None

    def inject(self, carrier):
        carrier["traceparent"] = f"in {self.current}"

    def extract(self, carrier):
        return carrier["traceparent"]


@pytest.fixture
def telemetry(monkeypatch):
    made = Telemetry()
    package, trace, propagate = map(ModuleType, NAMES)
    vars(trace).update(get_tracer=made.get_tracer, SpanKind=made.SpanKind)
    vars(propagate).update(inject=made.inject, extract=made.extract)
    package.trace, package.propagate = trace, propagate
    for name, module in zip(NAMES, (package, trace, propagate), strict=True):
        monkeypatch.setitem(sys.modules, name, module)
    return made


@pytest.fixture
def missing(monkeypatch):
    """A process in which OpenTelemetry is not installed."""
    for name in NAMES:
        monkeypatch.setitem(sys.modules, name, None)


def test_tracing_is_on_if_the_program_has_imported_it(telemetry):
    assert tracing.is_on()


def test_tracing_is_off_without_it(missing):
    assert not tracing.is_on()


def test_carrier_is_taken_inside_the_span_of_the_submission(telemetry):
    assert tracing.submitting("fn") == {"traceparent": "in submit fn"}
    assert telemetry.spans == [("submit fn", "producer", None)]


def test_span_of_the_execution_is_a_child_of_the_submissions(telemetry):
    with tracing.running({"traceparent": "in submit fn"}, "fn"):
        assert telemetry.current == "run fn"

    assert telemetry.spans == [("run fn", "consumer", "in submit fn")]


@pytest.mark.parametrize("carrier", [None, {}])
def test_task_that_was_not_traced_has_no_span(telemetry, carrier):
    with tracing.running(carrier, "fn"):
        assert telemetry.spans == []


def test_task_runs_without_a_span_in_a_worker_that_lacks_opentelemetry(missing):
    with tracing.running({"traceparent": "in submit fn"}, "fn") as span:
        assert span is None
