"""Views of a pool for users: the timeline of a run, the dashboard while it runs, and metrics."""
