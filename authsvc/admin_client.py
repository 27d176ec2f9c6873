"""A client for the admin API."""
