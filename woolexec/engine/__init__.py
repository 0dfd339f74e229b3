"""The part of a process that owns all state: queue, workers, links."""
