"""
OpenTelemetry traces: the W3C trace context travels with each task; one span for its submission, one for its execution.

OpenTelemetry is imported only if the caller's program has imported it.
"""

from __future__ import annotations

from contextlib import nullcontext

from woolexec.imported import imported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from typing import Any

KEY = "traceparent"
"""The name under which the trace context travels among the context variables."""


def is_on() -> bool:
    """Return whether the caller's program uses OpenTelemetry."""
    return imported("opentelemetry.trace") is not None


def submitting(name: str) -> dict[str, str]:
    """Create the span of a submission; return the carrier that its child spans need."""
    from opentelemetry import propagate, trace

    carrier: dict[str, str] = {}
    with trace.get_tracer("woolexec").start_as_current_span(f"submit {name}", kind=trace.SpanKind.PRODUCER):
        propagate.inject(carrier)
    return carrier


def running(carrier: dict[str, str] | None, name: str) -> AbstractContextManager[Any]:
    """Return a context manager for the span of an execution, a child of the submission's span."""
    if not carrier:
        return nullcontext()
    try:
        from opentelemetry import propagate, trace
    except ImportError:  # installed for the caller, but not for this worker
        return nullcontext()
    return trace.get_tracer("woolexec").start_as_current_span(
        f"run {name}", context=propagate.extract(carrier), kind=trace.SpanKind.CONSUMER
    )
