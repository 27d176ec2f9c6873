"""The rows. They are the entities too; there is no second set of objects.

Ids are text: a prefix for the kind and 26 characters that sort by time. Times are whole seconds
since the epoch, only an audit event's ``at`` is in milliseconds. Names with a fixed set of
values are ``Literal`` here and text in the database.
"""

from authsvc.server.models.administration import ApiKey, AuditEvent, AuditSeal, IdempotencyKey
from authsvc.server.models.attempts import AttemptCount
from authsvc.server.models.base import Row, new_id
from authsvc.server.models.console import ConsoleLink, ConsoleSession
from authsvc.server.models.joining import DeviceRequest, Enrolment, EnrolmentKey
from authsvc.server.models.mail import DeadLetter, Mailbox
from authsvc.server.models.people import App, Credential, DeadKey, Grant, UsedProof, User
from authsvc.server.models.trust import (
    Account,
    KeystoreCheck,
    Operator,
    Revocation,
    Role,
    Secret,
    ServerState,
    SigningKey,
    key_slot,
)

__all__ = [
    "Account",
    "ApiKey",
    "App",
    "AttemptCount",
    "AuditEvent",
    "AuditSeal",
    "ConsoleLink",
    "ConsoleSession",
    "Credential",
    "DeadKey",
    "DeadLetter",
    "DeviceRequest",
    "Enrolment",
    "EnrolmentKey",
    "Grant",
    "IdempotencyKey",
    "KeystoreCheck",
    "Mailbox",
    "Operator",
    "Revocation",
    "Role",
    "Row",
    "Secret",
    "ServerState",
    "SigningKey",
    "UsedProof",
    "User",
    "key_slot",
    "new_id",
]
