"""How calls are made: `submit`, `map`, streams and nested tasks, for threads and for event loops."""
