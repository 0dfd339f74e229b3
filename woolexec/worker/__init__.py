"""The code of the worker processes; it imports only layers 0-2, and as little of the standard library as possible."""
