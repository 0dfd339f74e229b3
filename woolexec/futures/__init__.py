"""Futures, and the waits on them that are safe everywhere."""
