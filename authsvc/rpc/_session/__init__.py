"""One live NATS connection at a time, and the credential that it is made with."""
