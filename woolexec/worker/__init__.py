"""What runs in the child processes; imports rows 0-2 only, and as little of the standard library as it can."""
