"""Authentication and encryption: tokens, certificates, the handshake."""
