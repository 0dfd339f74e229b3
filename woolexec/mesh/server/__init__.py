"""A peer: an engine behind a gRPC server."""
