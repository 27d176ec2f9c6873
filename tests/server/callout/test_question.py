"""What counts as a question of nats-server, and that none travels in the clear."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.errors import Error as NatsError

from authsvc.claims import (
    Authorization,
    AuthorizationRequestClaims,
    AuthorizationResponseClaims,
    Claims,
    UserClaims,
    decode,
    encode,
)
from authsvc.claims.authorization import ClientInformation, ConnectOptions, ServerId
from authsvc.errors import InvalidInput
from authsvc.nkey import KeyPair, Prefix
from authsvc.server.callout import Question, read_question
from authsvc.server.callout.question import XKEY_HEADER
from authsvc.xkey import CurveKey
from tests.fixtures.authsvc import LiveService, access_token
from tests.server.callout.conftest import Connect, push_door, responder_of

NOW = 1_800_000_000
OURS, THEIRS = CurveKey.generate(), CurveKey.generate()
SERVER = KeyPair.generate(Prefix.SERVER)
USER = KeyPair.generate(Prefix.USER).public.text
ACCOUNT = KeyPair.generate(Prefix.ACCOUNT)


def request(**changes: Any) -> AuthorizationRequestClaims:
    """What nats-server would ask."""
    server: dict[str, Any] = {"name": "n1", "id": SERVER.public.text, "xkey": THEIRS.public}
    server |= changes.pop("server", {})
    values: dict[str, Any] = {
        "subject": ACCOUNT.public.text,
        "audience": "nats-authorization-request",
        "server": ServerId(**server),
        "user_nkey": USER,
        "client": ClientInformation(host="192.0.2.1", name="laptop"),
        "connect": ConnectOptions(user="syftbox", password="t0ken"),
        "issued_at": NOW,
        "expires": NOW + 2,
        **changes,
    }
    return AuthorizationRequestClaims(**values)


def read(
    claims: Claims | bytes, signer: KeyPair = SERVER, sender: CurveKey = THEIRS, **kw: Any
) -> Question:
    text = claims if isinstance(claims, bytes) else encode(claims, signer).encode()
    sealed = kw.get("data", sender.seal(text, OURS.public))
    headers = kw.get("headers", {XKEY_HEADER: sender.public})
    return read_question(
        sealed, headers, xkey=OURS, account=ACCOUNT.public.text, now=kw.get("now", NOW)
    )


def test_a_question_is_read() -> None:
    found = read(request())
    assert (found.server, found.server_name, found.xkey) == (
        SERVER.public.text, "n1", THEIRS.public,
    )  # fmt: skip
    assert (found.user_nkey.text, found.expires_at) == (USER, NOW + 2)
    assert (found.address, found.client, found.user) == ("192.0.2.1", "laptop", "syftbox")
    assert found.token() == "t0ken"
    assert "t0ken" not in repr(found)


def test_the_password_goes_before_the_token() -> None:
    both = ConnectOptions(password="one", auth_token="two")
    assert read(request(connect=both)).token() == "one"
    assert read(request(connect=ConnectOptions(auth_token="two"))).token() == "two"


@pytest.mark.parametrize("name", ["\x1b[31m", "a\nb", "x" * 201])
def test_a_name_that_cant_be_shown_is_left_out(name: str) -> None:
    assert read(request(client=ClientInformation(name=name))).client == ""


OTHER_SERVER, OTHER_XKEY = KeyPair.generate(Prefix.SERVER), CurveKey.generate()
REFUSED: dict[str, Any] = {
    "for another account": lambda: read(request(subject=USER)),
    "for another service": lambda: read(request(audience="else")),
    "in another server's name": lambda: read(request(), signer=OTHER_SERVER),
    "sealed by another key": lambda: read(request(), sender=OTHER_XKEY),
    "of a server without curve key": lambda: read(request(server={"xkey": ""})),
    "for a key that is no user's": lambda: read(request(user_nkey=ACCOUNT.public.text)),
    "too late": lambda: read(request(), now=NOW + 3),
    "another kind of JWT": lambda: read(UserClaims(subject=USER, issued_at=NOW), ACCOUNT),
    "an answer": lambda: read(
        AuthorizationResponseClaims(
            subject=USER, audience=SERVER.public.text, error="no", issued_at=NOW
        ),
        ACCOUNT,
    ),
    "no JWT": lambda: read(b"hello"),
    "no text": lambda: read(b"\xff"),
    "not encrypted": lambda: read(request(), data=encode(request(), SERVER).encode(), headers={}),
    "said to be encrypted": lambda: read(request(), data=encode(request(), SERVER).encode()),
    "too large": lambda: read(b"x" * 140_000),
    "without header": lambda: read(request(), headers={}),
    "a header that is no key": lambda: read(request(), headers={XKEY_HEADER: USER}),
}


@pytest.mark.parametrize("why", REFUSED)
def test_anything_else_is_no_question(why: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        REFUSED[why]()
    assert "t0ken" not in str(refused.value)


@given(st.binary(max_size=300), st.text(max_size=80))
def test_rubbish_is_no_question(data: bytes, sender: str) -> None:
    with pytest.raises(InvalidInput):
        read(b"", data=data, headers={XKEY_HEADER: sender})


async def test_tokens_travel_encrypted_and_answers_too(
    own_door: LiveService, connect: Connect
) -> None:
    door = own_door
    responder = responder_of(door)
    answer_of = responder.answer
    seen: list[tuple[bytes, bytes, str]] = []

    async def watched(data: bytes, headers: dict[str, str], now: float) -> bytes:
        answer = await answer_of(data, headers, now)
        seen.append((data, answer, headers[XKEY_HEADER]))
        return answer

    responder.answer = watched  # type: ignore[method-assign]
    token = access_token("alice@example.com")
    await connect(door, user="syftbox", password=token)
    assert door.running.door is not None
    ((asked, answered, sender),) = seen
    for data in (asked, answered):
        assert data.startswith(b"xkv1")
        assert b"eyJ" not in data
        assert b"alice" not in data
    claims = decode(door.running.door.xkey.open(asked, sender).decode())
    assert isinstance(claims, AuthorizationRequestClaims)
    assert claims.connect.password == token
    # The same question again: its nkey was answered for, and is nobody else's.
    again = await answer_of(asked, {XKEY_HEADER: sender}, time.time())
    assert len(again) < len(answered)


async def test_a_question_in_the_clear_is_not_answered(
    own_door: LiveService, connect: Connect
) -> None:
    door = own_door
    assert door.running.door is not None
    await connect(door, user="syftbox", password=access_token("alice@example.com"))
    await push_door(
        door,
        Authorization(
            auth_users=(door.running.door.user_key.public.text,),
            allowed_accounts=(door.running.material.people,),
        ),
    )
    began = time.monotonic()
    with pytest.raises(NatsError, match="Authorization Violation"):
        await connect(door, user="syftbox", password=access_token("bob@example.com"))
    assert time.monotonic() - began > 1.5  # nats-server waited in vain
