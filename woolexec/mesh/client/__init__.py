"""A client's links to its peers."""
