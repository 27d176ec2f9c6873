"""The wire formats, pure: what requester, responder and JetStream say to each other, as bytes."""
