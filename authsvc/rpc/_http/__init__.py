"""HTTP applications on NATS."""
