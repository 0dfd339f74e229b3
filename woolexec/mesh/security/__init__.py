"""Who may speak to whom: tokens, certificates, the handshake."""
