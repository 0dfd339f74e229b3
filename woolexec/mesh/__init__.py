"""The transport to other hosts: the frames of a socketpair on a gRPC stream.  Only this package imports grpc."""
