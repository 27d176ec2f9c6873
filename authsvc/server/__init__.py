"""The service: it proves who people are, signs what they may do, and makes nats-server know."""
