"""What a pool does, for people: the timeline of a run, and the page on which it is seen while it runs."""
