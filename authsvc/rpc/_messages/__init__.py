"""What handlers and callers hold in their hands, and what stands around them."""
