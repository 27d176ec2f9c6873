"""The HTTP API: thin routes over what the service can do; contract, section 3."""
