"""Tests of what we make nats-server do."""
