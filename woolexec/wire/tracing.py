"""
Traces of OpenTelemetry: the W3C trace context goes with each task; one span where it is submitted, one where it runs.

Nothing of OpenTelemetry is imported unless the caller's program has done so.
"""

from __future__ import annotations

from contextlib import nullcontext

from woolexec.imported import imported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from typing import Any

KEY = "traceparent"
"""Under this name the context travels among the context variables."""


def is_on() -> bool:
    """Say whether the caller's program uses OpenTelemetry."""
    return imported("opentelemetry.trace") is not None


def submitting(name: str) -> dict[str, str]:
    """Make the span of a submission; return what its children have to know."""
    from opentelemetry import propagate, trace

    carrier: dict[str, str] = {}
    with trace.get_tracer("woolexec").start_as_current_span(f"submit {name}", kind=trace.SpanKind.PRODUCER):
        propagate.inject(carrier)
    return carrier


def running(carrier: dict[str, str] | None, name: str) -> AbstractContextManager[Any]:
    """Make the span of a run, below the submission's; it is the current one in the ``with``."""
    if not carrier:
        return nullcontext()
    try:
        from opentelemetry import propagate, trace
    except ImportError:  # the caller has it, and this worker does not
        return nullcontext()
    return trace.get_tracer("woolexec").start_as_current_span(
        f"run {name}", context=propagate.extract(carrier), kind=trace.SpanKind.CONSUMER
    )
