"""The RPC library, against a real nats-server."""
