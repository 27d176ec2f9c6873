"""Who may talk to whom on NATS in the SyftBox network, and the library people talk with."""

__version__ = "0.1.0"
