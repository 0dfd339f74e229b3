"""The transport to peers: the frames of a socketpair on a gRPC stream.  Only this package imports grpc."""
