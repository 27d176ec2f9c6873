"""What the conformance suite presents to each login method: good proofs and bad ones.

A ``Case`` is one method as it is configured, with a real server behind it where it has one.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import jwt

from authsvc import jose
from authsvc.nkey import KeyPair
from authsvc.server import audit, devices
from authsvc.server.models import DeviceRequest, EnrolmentKey
from tests.fixtures.authsvc import LiveService
from tests.fixtures.oidc import CLIENT, OidcProvider
from tests.fixtures.ports import free_port

SECRET = secrets.token_urlsafe(48)


class Case(ABC):
    """One method.

    Args:
        service: Where it is configured; set when the service runs.
    """

    method: str
    proves_emails = True
    signed = True
    """Whether the proof is a JWT."""
    remote = False
    """Whether a server is asked."""
    service: LiveService

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What configures it."""

    @abstractmethod
    async def good(self, name: str, key: KeyPair) -> str:
        """A proof that its holder, who has the nkey, is the user."""

    def bad(self) -> dict[str, str]:
        """Proofs that prove nothing."""
        return {}

    async def spoil(self, name: str, key: KeyPair) -> dict[str, str]:  # noqa: ARG002
        """Proofs that were good once, or are good for something else."""
        return {}

    async def set_down(self, *, down: bool) -> None:
        """Take the server that is asked away, or bring it back."""
        raise NotImplementedError


Sign = Callable[[bytes, bytes], str]


def signed_bad(claims: dict[str, Any], header: dict[str, Any], sign: Sign) -> dict[str, str]:
    """Bad JWTs of any method, all but the last few rightly signed."""
    now = int(time.time())
    head, body = jose.dumps(header), jose.dumps(claims)
    changes: dict[str, dict[str, Any]] = {
        "expired": {"exp": now - 1},
        "exp a text": {"exp": str(now + 60)},
        "exp true": {"exp": True},
        "exp beyond all time": {"exp": 10**15},
        "not valid yet": {"nbf": now + 3600},
        "iat in the future": {"iat": now + 3600},
        "a refresh token": {"type": "refresh", "typ": "Refresh"},
    }
    found = {name: sign(head, jose.dumps({**claims, **more})) for name, more in changes.items()}
    without = {name: value for name, value in claims.items() if name != "exp"}
    good = sign(head, body)
    first, second, third = good.split(".")
    found |= {
        "without exp": sign(head, jose.dumps(without)),
        "exp twice": sign(head, body[:-1] + f',"exp":{now + 900}}}'.encode()),
        "alg twice": sign(head[:-1] + b',"alg":"none"}', body),
        "alg none": sign(jose.dumps({**header, "alg": "none"}), body),
        "alg none, unsigned": f"{jose.b64encode(jose.dumps({'alg': 'none'}))}.{second}.",
        "another alg": sign(jose.dumps({**header, "alg": "HS1"}), body),
        "crit": sign(jose.dumps({**header, "crit": ["exp"]}), body),
        "a DPoP proof": sign(jose.dumps({**header, "typ": "dpop+jwt"}), body),
        "payload a list": sign(head, b"[]"),
        "payload no JSON": sign(head, b"{"),
        "deep nesting": sign(head, body[:-1] + b',"x":' + b"[" * 1000 + b"]" * 1000 + b"}"),
        "NaN": sign(head, body[:-1] + b',"x":NaN}'),
        "too long": sign(head, body[:-1] + b',"x":"' + b"x" * 7000 + b'"}'),
        "no signature": f"{first}.{second}.",
        "another signature": f"{first}.{second}.{jose.b64encode(secrets.token_bytes(32))}",
        "signature with padding": good + "=",
        "four parts": f"{good}.{third}",
        "two parts": f"{first}.{second}",
    }
    return found


def hs256(header: bytes, payload: bytes) -> str:
    """A JWS by the SyftBox server's secret."""
    text = f"{jose.b64encode(header)}.{jose.b64encode(payload)}"
    return f"{text}.{jose.b64encode(hmac.digest(SECRET.encode(), text.encode(), 'sha256'))}"


class SyftboxSecretCase(Case):
    """A SyftBox access token, and the secret is shared."""

    method = "syftbox"
    issuer = "https://syftbox.example"

    def settings(self) -> dict[str, Any]:
        return {"syftbox_access_token_secret": SECRET, "syftbox_issuer": self.issuer}

    def claims(self, name: str) -> dict[str, Any]:
        now = int(time.time())
        return {"type": "access", "iss": self.issuer, "sub": name, "exp": now + 600, "iat": now}

    async def good(self, name: str, key: KeyPair) -> str:  # noqa: ARG002
        return hs256(b'{"alg":"HS256","typ":"JWT"}', jose.dumps(self.claims(name)))

    def bad(self) -> dict[str, str]:
        claims, header = self.claims("alice@example.com"), {"alg": "HS256", "typ": "JWT"}
        head = jose.dumps(header)
        return {
            **signed_bad(claims, header, hs256),
            "another issuer": hs256(head, jose.dumps({**claims, "iss": "https://evil.example"})),
            "no type": hs256(head, jose.dumps({**claims, "type": None})),
        }


class _Asked(SyftboxSecretCase):
    """A server that is asked about tokens: it knows those that the secret signed."""

    remote = True

    def __init__(self) -> None:
        self.port = free_port()
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @abstractmethod
    def answer(self, claims: dict[str, Any] | None) -> tuple[int, dict[str, Any]]:
        """What it answers to whom it knows by these claims, or doesn't know."""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                token = head.partition("Bearer ")[2].partition("\r\n")[0]
                try:
                    claims = jwt.decode(token, SECRET, ["HS256"], options={"verify_aud": False})
                except jwt.InvalidTokenError:
                    claims = None
                status, document = self.answer(claims)
                body = jose.dumps(document)
                first = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n"
                writer.write(first.encode() + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def set_down(self, *, down: bool) -> None:
        if down and self._server is not None:
            self._server.close()
            for writer in self._writers:
                writer.close()
            self._writers.clear()
            self._server = None
            await asyncio.sleep(0)
        elif not down:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)


class SyftboxProbeCase(_Asked):
    """A SyftBox access token, and the server is asked."""

    def settings(self) -> dict[str, Any]:
        return {
            "syftbox_access_token_secret": None,
            "syftbox_url": self.url,
            "syftbox_issuer": self.issuer,
        }

    def answer(self, claims: dict[str, Any] | None) -> tuple[int, dict[str, Any]]:
        if claims is None:
            return 401, {"code": "E_AUTH_INVALID_CREDENTIALS", "error": "x"}
        return 400, {"code": "E_INVALID_REQUEST", "error": "x"}


class WhoamiCase(_Asked):
    """An access token of a legacy SyftBox server."""

    method = "whoami"

    def settings(self) -> dict[str, Any]:
        return {"syftbox_access_token_secret": None, "syftbox_legacy_url": self.url}

    def claims(self, name: str) -> dict[str, Any]:
        now = int(time.time())
        return {"type": "access_token", "email": name, "exp": now + 600, "iat": now}

    def answer(self, claims: dict[str, Any] | None) -> tuple[int, dict[str, Any]]:
        if claims is None:
            return 401, {"detail": "Invalid token"}
        return 200, {"email": claims["email"]}

    def bad(self) -> dict[str, str]:
        claims, header = self.claims("alice@example.com"), {"alg": "HS256", "typ": "JWT"}
        head = jose.dumps(header)
        unsigned = jose.b64encode(jose.dumps({"email": "alice@example.com"}))
        return {
            **signed_bad(claims, header, hs256),
            "an e-mail's token": hs256(head, jose.dumps({**claims, "type": "email_token"})),
            "as a server without authentication takes it": unsigned,
        }


class OidcCase(Case):
    """A token of a real OIDC provider."""

    method = "oidc"
    remote = True

    def __init__(self, provider: OidcProvider) -> None:
        self.provider = provider

    def settings(self) -> dict[str, Any]:
        return {
            "syftbox_access_token_secret": None,
            "oidc_issuer": self.provider.issuer,
            "oidc_audience": CLIENT,
        }

    async def good(self, name: str, key: KeyPair) -> str:  # noqa: ARG002
        return self.provider.mint(self.provider.claims(email=name))

    def bad(self) -> dict[str, str]:
        provider = self.provider
        header = {"alg": "RS256", "typ": "JWT", "kid": provider.keys[0]["kid"]}

        def sign(head: bytes, payload: bytes) -> str:
            return provider.sign(head, payload)

        return {
            **signed_bad(provider.claims(), header, sign),
            "another issuer": provider.mint(provider.claims(iss="https://evil.example")),
            "another audience": provider.mint(provider.claims(aud="somebody")),
            "not verified": provider.mint(provider.claims(email_verified=False)),
            "unknown kid": provider.mint(kid="unknown"),
        }

    async def set_down(self, *, down: bool) -> None:
        await self.provider.set_down(down=down)


class EnrolmentCase(Case):
    """An enrolment key."""

    method = "enrolment"
    proves_emails = signed = False

    def settings(self) -> dict[str, Any]:
        return {}

    async def _make(self, **body: Any) -> dict[str, Any]:
        answer = await self.service.admin("POST", "/v1/admin/enrolment-keys", json=body)
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def good(self, name: str, key: KeyPair) -> str:  # noqa: ARG002
        return str((await self._make(username=name))["key"])

    def bad(self) -> dict[str, str]:
        return {"made up": "authsvc_enrol_" + "A" * 43, "too long": "authsvc_enrol_" + "A" * 999}

    async def spoil(self, name: str, key: KeyPair) -> dict[str, str]:  # noqa: ARG002
        revoked, late = await self._make(username=name), await self._make(username=name)
        path = f"/v1/admin/enrolment-keys/{revoked['id']}"
        assert (await self.service.admin("DELETE", path)).status_code == 200
        async with self.service.running.database.writing() as session:
            (await session.get_one(EnrolmentKey, late["id"])).expires_at = int(time.time())
        return {"revoked": revoked["key"], "expired": late["key"]}


class DeviceCase(Case):
    """The token of a terminal that was let in."""

    method = "device"
    proves_emails = signed = False

    def settings(self) -> dict[str, Any]:
        return {"device_login": True}

    async def _let_in(self, name: str, key: KeyPair) -> tuple[str, str]:
        context = audit.Context(audit.Actor("service", "test"), "test", "")
        now = time.time()
        async with self.service.running.database.writing() as session:
            public = key.public.text
            asked = await devices.ask(session, public, client="", address="", now=now)
        async with self.service.running.database.writing() as session:
            found = await devices.find_request(session, asked.user_code, now, lock=True)
            await devices.decide(session, found, username=name, context=context, now=now)
            polled = await devices.poll(session, asked.device_code, public, now)
            return polled.token, found.id

    async def good(self, name: str, key: KeyPair) -> str:
        return (await self._let_in(name, key))[0]

    def bad(self) -> dict[str, str]:
        return {"made up": "authsvc_device_" + "A" * 43, "too long": "authsvc_device_" + "A" * 999}

    async def spoil(self, name: str, key: KeyPair) -> dict[str, str]:
        late, which = await self._let_in(name, key)
        async with self.service.running.database.writing() as session:
            (await session.get_one(DeviceRequest, which)).expires_at = int(time.time())
        other = KeyPair.generate(key.public.prefix)
        return {"expired": late, "another's": (await self._let_in(name, other))[0]}


@asynccontextmanager
async def up(case: Case) -> AsyncIterator[Case]:
    """The case with its server running."""
    if isinstance(case, _Asked):
        await case.set_down(down=False)
    yield case
    if isinstance(case, _Asked):
        await case.set_down(down=True)
