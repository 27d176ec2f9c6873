"""Auth callout: nats-server asks over NATS about clients that come without a user JWT.

An entry beside ``api``: the same login methods, the same desk, the same audit. ``question`` reads
what nats-server asks, ``responder`` answers.
"""

from authsvc.server.callout.question import Question, read_question
from authsvc.server.callout.responder import REFUSAL, Responder

__all__ = ["REFUSAL", "Question", "Responder", "read_question"]
