"""Futures, and waits on them that are safe in threads, signal handlers and event loops."""
