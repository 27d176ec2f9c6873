"""What must never be possible, tried on a real nats-server."""
