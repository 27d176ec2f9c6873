"""What nats-server asks about a client, opened and checked.

A question is an authorization request JWT, signed by the server that asks, sealed by its curve key
for ours. Only nats-server can publish where questions arrive; that it was sealed is checked all the
same, because what travels unsealed shows the client's token to every user of the system account.

Source: nats-server, server/auth_callout.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from authsvc.claims import AuthorizationRequestClaims, decode, ensure_valid
from authsvc.errors import InvalidClaims, InvalidInput, InvalidToken
from authsvc.nkey import Prefix, PublicKey
from authsvc.server.login.token import MAX_TOKEN_CHARS
from authsvc.xkey import CurveKey

__all__ = ["XKEY_HEADER", "Question", "read_question"]

XKEY_HEADER = "Nats-Server-Xkey"
_AUDIENCE = "nats-authorization-request"
_MAX_BYTES = 128 * 1024
_MAX_NAME_CHARS = 200


@dataclass(frozen=True, slots=True)
class Question:
    """A question of a nats-server.

    Args:
        server: The server's public key; the answer is for it alone.
        server_name: For people.
        xkey: The server's curve key; the answer is sealed for it.
        user_nkey: What the answer's JWT must be for.
        expires_at: When the server stops to wait, in seconds since the epoch.
        address: Where the client connects from.
        client: What the client calls its connection; empty if it can't be shown.
        user: The user name of CONNECT.
        secret: The password of CONNECT, or its token where it has none; nothing is proven.
    """

    server: str
    server_name: str
    xkey: str
    user_nkey: PublicKey
    expires_at: int
    address: str
    client: str
    user: str
    secret: str = field(repr=False)

    def token(self) -> str:
        """The identity token that the client came with.

        Raises:
            InvalidToken: There is none, or it can't be one.
        """
        if not self.secret:
            raise InvalidToken("callout: no password and no token in CONNECT")
        if len(self.secret) > MAX_TOKEN_CHARS or not self.secret.isascii():
            raise InvalidToken("callout: the password is too long or not ASCII")
        return self.secret


def read_question(
    data: bytes, headers: Mapping[str, str], *, xkey: CurveKey, account: str, now: float
) -> Question:
    """Open and check a question.

    Args:
        data: The message.
        headers: Its headers; one names the server's curve key.
        xkey: Our curve key.
        account: Public key of the account that is asked about.
        now: Seconds since the epoch.

    Raises:
        InvalidInput: It was not sealed, or is no question to us that can still be answered.
    """
    if len(data) > _MAX_BYTES:
        raise InvalidInput("a question of this size is none")
    sender = headers.get(XKEY_HEADER, "")
    if not sender:
        raise InvalidInput("the question was not encrypted")
    try:
        text = xkey.open(data, sender).decode("ascii")
    except UnicodeDecodeError:
        raise InvalidInput("what was sealed is no JWT") from None
    claims = decode(text)
    if not isinstance(claims, AuthorizationRequestClaims):
        raise InvalidClaims("the JWT is no authorization request")
    ensure_valid(claims, int(now))
    if claims.audience != _AUDIENCE or claims.subject != account:
        raise InvalidClaims("the request is meant for somebody else")
    if claims.server.id != claims.issuer or claims.server.xkey != sender:
        raise InvalidClaims("the request was made by another server than the one it names")
    name, connect = claims.client.name, claims.connect
    return Question(
        server=claims.issuer,
        server_name=claims.server.name,
        xkey=sender,
        user_nkey=PublicKey.parse(claims.user_nkey, Prefix.USER),
        expires_at=claims.expires,
        address=claims.client.host,
        client=name if name.isprintable() and len(name) <= _MAX_NAME_CHARS else "",
        user=connect.user,
        secret=connect.password or connect.auth_token,
    )
