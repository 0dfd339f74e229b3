"""How calls are made: `submit`, `map`, streams, tasks of tasks, for threads and for event loops."""
