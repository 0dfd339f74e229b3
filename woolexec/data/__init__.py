"""The values of this process."""
