"""The part of a process that owns all state: the queue, the workers and the links."""
