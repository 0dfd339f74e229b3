"""The store of the values that this process has put."""
