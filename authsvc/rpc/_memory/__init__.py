"""What stands in for the servers in tests of apps."""
