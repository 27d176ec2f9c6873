"""What we make nats-server do: its configuration, its accounts, and the process itself."""
