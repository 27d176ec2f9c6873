"""Bad input: what is refused, how, and that nothing is learnt from it."""

from __future__ import annotations

import json
import secrets
import time
from typing import Any

import pytest
import structlog
from sqlalchemy import select
from sqlmodel import col

from authsvc import dpop, jose
from authsvc.nkey import KeyPair, Prefix
from authsvc.server.api import problems
from authsvc.server.models import AuditEvent, User
from tests.fixtures.authsvc import LiveService, access_token

ROUTE = "/v1/credentials"
EMAIL = "alice@example.com"


@pytest.fixture
def service(emptied_service: LiveService) -> LiveService:
    """One for the module, emptied for each test."""
    return emptied_service


@pytest.fixture
def key() -> KeyPair:
    return KeyPair.generate(Prefix.USER)


def check_problem(answer: Any, status: int, slug: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert {"type", "title", "status", "detail", "instance"} <= body.keys()
    assert body["type"] == f"urn:authsvc:problem:{slug}"
    assert body["status"] == status
    assert answer.headers["x-request-id"]
    return body


def forged(claims: dict[str, Any], header: dict[str, Any], signature: bytes = b"") -> str:
    parts = [jose.b64encode(jose.dumps(part)) for part in (header, claims)]
    return ".".join([*parts, jose.b64encode(signature)])


async def test_tokens_that_are_refused_get_one_message(service: LiveService, key: KeyPair) -> None:
    now = int(time.time())
    good = {"type": "access", "sub": EMAIL, "iss": "i", "exp": now + 60, "iat": now, "jti": "j"}
    bad = {
        "garbage": "abc",
        "two parts": "e30.e30",
        "other secret": access_token(EMAIL, secret="x" * 40),
        "alg none": forged(good, {"alg": "none", "typ": "JWT"}),
        "expired": access_token(EMAIL, exp=now - 10),
        "no exp": access_token(EMAIL, exp=None),
        "not yet": access_token(EMAIL, nbf=now + 300),
        "refresh": access_token(EMAIL, type="refresh"),
        "no type": access_token(EMAIL, type=None),
        "no sub": access_token(EMAIL, sub=None),
        "from the future": access_token(EMAIL, iat=now + 600),
    }
    details = set()
    for what, token in bad.items():
        answer = await service.login(EMAIL, key, token)
        details.add(check_problem(answer, 401, "unauthenticated")["detail"])
        assert "WWW-Authenticate" in answer.headers, what
    assert len(details) == 1
    assert (await service.login(EMAIL, key)).status_code == 201


async def test_issuer_is_checked_when_set(start_service: Any, key: KeyPair) -> None:
    service = await start_service(syftbox_issuer="https://mine.example.org")
    assert (await service.login(EMAIL, key)).status_code == 401
    good = access_token(EMAIL, iss="https://mine.example.org")
    assert (await service.login(EMAIL, key, good)).status_code == 201


async def post(service: LiveService, headers: Any, **kw: Any) -> Any:
    return await service.http.post(ROUTE, headers=headers, **kw)


async def test_proofs_that_are_refused(service: LiveService, key: KeyPair) -> None:
    token = access_token(EMAIL)
    url = service.url + ROUTE
    now = time.time()

    def make(**kw: Any) -> str:
        options = {"token": token, "now": now, "jti": secrets.token_hex(16), **kw}
        return dpop.make(key, options.pop("method", "POST"), options.pop("url", url), **options)

    host = service.url.replace("127.0.0.1", "evil.example")
    bad = {
        "none": None,
        "garbage": "x.y.z",
        "other method": make(method="GET"),
        "other route": make(url=service.url + "/v1/credentials/renew"),
        "other host": make(url=host + ROUTE),
        "old": make(now=now - 120),
        "future": make(now=now + 120),
        "other token": make(token="another"),
        "no ath": make(token=None),
    }
    for what, proof in bad.items():
        headers = {"Authorization": f"Bearer {token}", "Host": "evil.example"}
        if proof is not None:
            headers["DPoP"] = proof
        answer = await post(service, headers)
        assert answer.status_code == 401, what
        check_problem(answer, 401, "unauthenticated")
    twice = [("Authorization", f"Bearer {token}")] * 2 + [("DPoP", make())]
    assert (await post(service, twice)).status_code == 401
    two_proofs = [("Authorization", f"Bearer {token}"), ("DPoP", make()), ("DPoP", make())]
    assert (await post(service, two_proofs)).status_code == 401
    # The Host header counts for nothing, either way.
    fine = {"Authorization": f"Bearer {token}", "DPoP": make(), "Host": "evil.example"}
    assert (await post(service, fine)).status_code == 201


async def test_loopback_names_are_one_origin(service: LiveService, key: KeyPair) -> None:
    token = access_token(EMAIL)
    for name in ("localhost", "[::1]", "127.0.0.1"):
        url = service.url.replace("127.0.0.1", name) + ROUTE
        proof = dpop.make(key, "POST", url, token=token, now=time.time(), jti=secrets.token_hex(8))
        answer = await post(service, {"Authorization": f"Bearer {token}", "DPoP": proof})
        assert answer.status_code == 201, name


async def test_replayed_proof_is_refused(service: LiveService, key: KeyPair) -> None:
    token = access_token(EMAIL)
    headers = {
        "Authorization": f"Bearer {token}",
        "DPoP": service.proof(key, "POST", ROUTE, token),
    }
    assert (await post(service, headers)).status_code == 201
    assert (await post(service, headers)).status_code == 401


async def test_replays_at_the_same_moment(service: LiveService, key: KeyPair) -> None:
    import asyncio  # noqa: PLC0415

    token = access_token(EMAIL)
    headers = {
        "Authorization": f"Bearer {token}",
        "DPoP": service.proof(key, "POST", ROUTE, token),
    }
    answers = await asyncio.gather(*(post(service, headers) for _ in range(12)))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [201] + [401] * 11


async def test_delete_can_not_be_replayed(service: LiveService, key: KeyPair) -> None:
    first = (await service.login(EMAIL, key)).json()
    other = KeyPair.generate(Prefix.USER)
    second = (await service.login(EMAIL, other)).json()
    path = f"{ROUTE}/{second['id']}"
    headers = {
        "Authorization": f"DPoP {first['jwt']}",
        "DPoP": service.proof(key, "DELETE", path, first["jwt"]),
    }
    assert (await service.http.delete(path, headers=headers)).status_code == 200
    assert (await service.http.delete(path, headers=headers)).status_code == 401


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("no-at-sign", "@"),
        ("a\u00a0b@x.com", "U+00A0"),
        ("a b@x.com", "U+0020"),
        ("a\u202eb@x.com", "U+202E"),
        ("\u212aelvin@x.com", "normal form"),
        ("e\u0301@x.com", "normal form"),
        ("\u00dc@x.com", "normal form"),
        ("a" * 250 + "@x.com", "bytes"),
        ("." * 80 + "@x.com", "bytes"),
    ],
)
async def test_names_the_contract_refuses(service: LiveService, name: str, why: str) -> None:
    answer = await service.login(name, token=access_token(name))
    body = check_problem(answer, 422, "invalid-name")
    assert why in body["detail"]


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b'{"ttl": 0}', 422),
        (b'{"ttl": "5"}', 422),
        (b'{"ttl": true}', 422),
        (b'{"unknown": 1}', 422),
        (b"[]", 422),
        (b"{", 422),
        (b'{"ttl":' + b"1" * 5000 + b"}", 422),
        (b"[" * 60000, 422),
        ('{"name": "x"}'.encode("utf-16"), 422),
        (b'{"method": "nothing"}', 422),
        (b'{"app": ""}', 422),
        (b'{"app": "a b"}', 422),
        (b"", 201),
        (b"{}", 201),
        (b'{"name": "laptop", "method": "syftbox"}', 201),
    ],
)
async def test_bodies(service: LiveService, key: KeyPair, content: bytes, status: int) -> None:
    token = access_token(EMAIL)
    answer = await service.call("POST", ROUTE, "Bearer", token, key, content=content)
    assert answer.status_code == status, answer.text
    if status == 422:
        assert answer.headers["content-type"] == "application/problem+json"


async def test_a_body_above_64_kib(service: LiveService, key: KeyPair) -> None:
    token = access_token(EMAIL)
    content = json.dumps({"name": "x" * 70000}).encode()

    async def chunks() -> Any:
        for _ in range(10):
            yield b" " * 8000

    for body in (content, chunks()):
        answer = await service.call("POST", ROUTE, "Bearer", token, key, content=body)
        check_problem(answer, 413, "body-too-large")


async def test_schemes_are_not_interchangeable(service: LiveService, key: KeyPair) -> None:
    jwt = (await service.login(EMAIL, key)).json()["jwt"]
    token = access_token(EMAIL)
    assert (await service.call("POST", ROUTE, "DPoP", token, key)).status_code == 401
    assert (await service.call("POST", ROUTE, "Bearer", jwt, key)).status_code == 401
    renew = f"{ROUTE}/renew"
    assert (await service.call("POST", renew, "Bearer", jwt, key)).status_code == 401
    assert (await service.call("POST", renew, "DPoP", token, key)).status_code == 401
    assert (await service.http.get("/v1/me")).status_code == 401


async def test_jwt_of_a_foreign_operator(service: LiveService, key: KeyPair) -> None:
    from authsvc.claims import UserClaims, decode_user, encode  # noqa: PLC0415

    own = decode_user((await service.login(EMAIL, key)).json()["jwt"])
    foreign = encode(
        UserClaims(
            subject=own.subject,
            name=own.name,
            issuer_account=own.issuer_account,
            permissions=own.permissions,
            tags=own.tags,
            issued_at=own.issued_at,
            expires=own.expires,
        ),
        KeyPair.generate(Prefix.ACCOUNT),
    )
    assert (await service.renew(foreign, key)).status_code == 401
    assert (await service.call("GET", "/v1/me", "DPoP", foreign, key)).status_code == 401


async def test_unknown_paths_and_methods(service: LiveService) -> None:
    check_problem(await service.http.get("/v1/nothing"), 404, "not-found")
    check_problem(await service.http.put(ROUTE), 405, "method-not-allowed")


async def test_what_no_database_keeps_is_refused(service: LiveService, key: KeyPair) -> None:
    # PostgreSQL has no NUL in its texts, and fails on one.
    jwt = (await service.login(EMAIL, key)).json()["jwt"]
    named = await service.login(EMAIL, KeyPair.generate(Prefix.USER), name="a\0b")
    check_problem(named, 422, "invalid-input")
    for path in ("%00", "a%00b", "%ff"):
        answer = await service.call("DELETE", f"{ROUTE}/{path}", "DPoP", jwt, key)
        check_problem(answer, 404, "not-found")
        check_problem(await service.http.get(f"/jwt/v1/accounts/{path}"), 404, "not-found")
    for cursor in ("%00", "crd_x", "usr_" + "0" * 26):
        answer = await service.call("GET", f"{ROUTE}?cursor={cursor}", "DPoP", jwt, key)
        check_problem(answer, 422, "invalid-input")


async def test_a_body_with_a_member_twice_is_refused(service: LiveService, key: KeyPair) -> None:
    answer = await service.call(
        "POST",
        ROUTE,
        "Bearer",
        access_token(EMAIL),
        key,
        content=b'{"ttl":60,"ttl":3600}',
    )
    check_problem(answer, 422, "invalid-input")


async def test_an_unknown_method_is_not_repeated(service: LiveService, key: KeyPair) -> None:
    answer = await service.login(EMAIL, key, method="most-likely-a-token")
    body = check_problem(answer, 422, "invalid-input")
    assert "most-likely-a-token" not in str(body)
    assert "syftbox" in body["detail"]
    assert [error["location"] for error in body["errors"]] == ["body.method"]


async def test_a_body_above_64_kib_where_none_is_wanted(service: LiveService, key: KeyPair) -> None:
    jwt = (await service.login(EMAIL, key)).json()["jwt"]

    async def chunks() -> Any:
        for _ in range(10):
            yield b" " * 8000

    for method, path in (("POST", f"{ROUTE}/renew"), ("GET", "/v1/me"), ("DELETE", f"{ROUTE}/x")):
        answer = await service.call(method, path, "DPoP", jwt, key, content=chunks())
        check_problem(answer, 413, "body-too-large")


async def test_deep_json_is_a_refusal(service: LiveService, key: KeyPair) -> None:
    deep = jose.b64encode(b'{"a":' * 300 + b"1" + b"}" * 300)
    header = jose.b64encode(jose.dumps({"alg": "HS256", "typ": "JWT"}))
    token = f"{header}.{deep}.AAAA"
    check_problem(await service.login(EMAIL, key, token), 401, "unauthenticated")
    check_problem(await service.renew(token, key), 401, "unauthenticated")


async def test_a_jti_works_once_whatever_its_time(service: LiveService, key: KeyPair) -> None:
    token, now = access_token(EMAIL), time.time()
    statuses = []
    for back in (0, 1, 2, -1):
        proof = dpop.make(
            key, "POST", service.url + ROUTE, token=token, now=now - back, jti="the same"
        )
        headers = {"Authorization": f"Bearer {token}", "DPoP": proof}
        statuses.append((await service.http.post(ROUTE, headers=headers)).status_code)
    assert statuses == [201, 401, 401, 401]


async def test_a_refused_login_makes_no_user(service: LiveService, key: KeyPair) -> None:
    await service.login(EMAIL, key)
    ghost = "ghost@example.com"
    check_problem(await service.login(ghost, key), 409, "key-taken")
    narrow = "x" * 64
    long_name = f"{'a' * 146}@example.com"
    other = KeyPair.generate(Prefix.USER)
    answer = await service.login(long_name, other, app=narrow)
    assert "shorten its name" in check_problem(answer, 422, "credential-too-large")["detail"]
    async with service.running.database.reading() as session:
        names = list(await session.scalars(select(col(User.username))))
        targets = list(await session.scalars(select(col(AuditEvent.action))))
    assert names == [EMAIL]
    assert targets.count("user.create") == 1


async def test_the_log_tells_why_under_the_requests_id(
    service: LiveService, key: KeyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = structlog.testing.CapturingLogger()
    monkeypatch.setattr(problems, "log", structlog.wrap_logger(written, processors=[_kept]))
    answer = await service.login(EMAIL, key, access_token(EMAIL, type="refresh"))
    (line,) = written.calls
    assert line.kwargs["request_id"] == answer.headers["x-request-id"]
    assert line.kwargs["reason"] == "token: its type is not access"


def _kept(_logger: Any, _method: str, line: Any) -> Any:
    return (), line


async def test_head_is_get_without_content(service: LiveService, key: KeyPair) -> None:
    jwt = (await service.login(EMAIL, key)).json()["jwt"]
    for path in ("/healthz", "/readyz", "/.well-known/authsvc", "/jwt/v1/operator", "/v1/nothing"):
        wanted, found = await service.http.get(path), await service.http.head(path)
        assert (found.status_code, found.content) == (wanted.status_code, b"")
        assert found.headers["content-length"] == wanted.headers["content-length"]
    # The proof is for HEAD, which is what was sent.
    assert (await service.call("HEAD", "/v1/me", "DPoP", jwt, key)).status_code == 200
    assert (await service.http.head(f"{ROUTE}/renew")).status_code == 405
