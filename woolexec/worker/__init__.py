"""The code of the worker processes; it imports layers 0-2 only, and as little of the standard library as possible."""
