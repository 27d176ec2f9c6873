"""Bodies that travel in chunks, both sides."""
