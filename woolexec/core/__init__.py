"""The pure heart: decisions without await, clock, thread or randomness."""
