"""Who asks: AsyncClient and Peer."""
