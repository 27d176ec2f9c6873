"""Credentials: issue, renew, supersede, revoke.

A credential is one nkey of one user. ``orders`` says what can be asked for, ``issue`` answers
many orders in one transaction, ``authorize`` believes a NATS user JWT, ``credentials`` lists and
revokes, ``supersede`` ends JWTs and leaves the keys.
"""

from authsvc.server.sessions.admissions import cut_late_admissions, forget_admissions
from authsvc.server.sessions.authorize import Caller, authorize
from authsvc.server.sessions.credentials import (
    credential_state,
    list_credentials,
    revoke_all,
    revoke_credential,
)
from authsvc.server.sessions.issue import Desk
from authsvc.server.sessions.orders import (
    Admission,
    Assignment,
    Issued,
    Limits,
    Login,
    Order,
    Renewal,
)
from authsvc.server.sessions.proofs import SpentProofs

__all__ = [
    "Admission",
    "Assignment",
    "Caller",
    "Desk",
    "Issued",
    "Limits",
    "Login",
    "Order",
    "Renewal",
    "SpentProofs",
    "authorize",
    "credential_state",
    "cut_late_admissions",
    "forget_admissions",
    "list_credentials",
    "revoke_all",
    "revoke_credential",
]
