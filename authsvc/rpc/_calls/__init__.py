"""Calls that wait for their answer, live and stored."""
