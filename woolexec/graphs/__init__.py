"""Graphs of tasks: see `PeerPoolExecutor.submit_graph`."""
