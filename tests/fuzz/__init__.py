"""Hostile inputs, from a seed: ``python -m tests.fuzz --seconds 600 --seed 7``."""
