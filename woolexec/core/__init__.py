"""The pure core: it makes decisions without await, clock, thread or randomness."""
