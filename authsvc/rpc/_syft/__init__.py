"""The shapes that syft-rpc and syft-event users know."""
