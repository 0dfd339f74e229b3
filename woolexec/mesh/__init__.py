"""The road to other processes: the frames of a socketpair on a gRPC stream.  The only part that imports grpc."""
