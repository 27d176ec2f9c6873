"""Tests of the login methods."""
