"""The blocking face, over one loop thread."""
