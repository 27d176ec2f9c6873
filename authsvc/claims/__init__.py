"""NATS JWTs of version 2: claims, their codec, validation and ``.creds`` text. Pure.

    claims = UserClaims(subject=key.public.text, name="alice", issued_at=now)
    token = encode(claims, account_signing_key)
    ensure_valid(decode_user(token), now)

Byte-compatible with https://github.com/nats-io/jwt (v2), the reference.
"""

from authsvc.claims.account import AccountClaims
from authsvc.claims.activation import ActivationClaims
from authsvc.claims.authorization import (
    AuthorizationRequestClaims,
    AuthorizationResponseClaims,
)
from authsvc.claims.codec import (
    MAX_JWT_BYTES,
    MAX_USER_JWT_BYTES,
    decode,
    decode_account,
    decode_operator,
    decode_user,
    encode,
    says,
)
from authsvc.claims.common import Claims
from authsvc.claims.creds import Creds, format_creds, parse_creds
from authsvc.claims.exports import Export, ServiceLatency
from authsvc.claims.generic import GenericClaims
from authsvc.claims.imports import Import
from authsvc.claims.limits import AccountLimits, JetStreamLimits, TimeRange
from authsvc.claims.operator import OperatorClaims
from authsvc.claims.permissions import Permission, Permissions, ResponsePermission
from authsvc.claims.report import Issue
from authsvc.claims.routing import Authorization, MessageTrace, WeightedMapping
from authsvc.claims.scope import UserScope
from authsvc.claims.user import UserClaims
from authsvc.claims.validation import ensure_valid, validate

__all__ = [
    "MAX_JWT_BYTES",
    "MAX_USER_JWT_BYTES",
    "AccountClaims",
    "AccountLimits",
    "ActivationClaims",
    "Authorization",
    "AuthorizationRequestClaims",
    "AuthorizationResponseClaims",
    "Claims",
    "Creds",
    "Export",
    "GenericClaims",
    "Import",
    "Issue",
    "JetStreamLimits",
    "MessageTrace",
    "OperatorClaims",
    "Permission",
    "Permissions",
    "ResponsePermission",
    "ServiceLatency",
    "TimeRange",
    "UserClaims",
    "UserScope",
    "WeightedMapping",
    "decode",
    "decode_account",
    "decode_operator",
    "decode_user",
    "encode",
    "ensure_valid",
    "format_creds",
    "parse_creds",
    "says",
    "validate",
]
