"""Forged identity tokens, user JWTs, proofs and API keys at every route that takes one.

Each forgery is sent with everything else right. None is accepted, none is answered 5xx, and none
learns why. What each login method is shown besides is in tests/server/login/test_conformance.py.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
import unicodedata
from dataclasses import replace
from typing import Any, NamedTuple

import httpx
import pytest
from sqlalchemy import select

from authsvc import jose
from authsvc.claims import UserClaims, decode_user, encode
from authsvc.nkey import KeyPair, Prefix
from authsvc.server import api_keys
from authsvc.server.models import ApiKey
from tests.fixtures.authsvc import SECRET, LiveService, StartService, access_token

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
ALICE, MALLORY = "alice@example.com", "mallory@example.com"
CREDENTIALS, RENEW, ME = "/v1/credentials", "/v1/credentials/renew", "/v1/me"
BY_JWT = [
    ("POST", RENEW),
    ("GET", CREDENTIALS),
    ("DELETE", f"{CREDENTIALS}/crd_{'0' * 26}"),
    ("GET", ME),
    ("GET", "/v1/me/apps"),
    ("PUT", "/v1/me/apps/chat"),
    ("DELETE", "/v1/me/apps/chat"),
    ("GET", "/v1/me/apps/chat/dead-letters"),
    ("POST", "/v1/me/apps/chat/dead-letters/x/requeue"),
    ("GET", "/v1/me/mailbox"),
    ("PUT", "/v1/me/mailbox"),
    ("GET", f"/v1/users/{ALICE}/apps"),
]
BY_PROOF_ALONE = [("POST", "/v1/device/authorize"), ("POST", "/v1/device/token")]
PATHS = ["../../../../../../dev/null", "file:///dev/null", "' UNION SELECT 'x", "\0", "x" * 300]
FOREIGN = "https://evil.example/keys.json"


class Scene(NamedTuple):
    """A service, a victim's credential, and the attacker's own."""

    service: LiveService
    alice: dict[str, Any]
    alice_key: KeyPair
    mallory: dict[str, Any]
    key: KeyPair

    async def send(
        self, method: str, path: str, scheme: str, token: str, proof: str | None = None
    ) -> httpx.Response:
        proof = proof or self.service.proof(self.key, method, path, token)
        headers = {"Authorization": f"{scheme} {token}", "DPoP": proof}
        return await self.service.http.request(method, path, headers=headers)


@pytest.fixture
async def scene(start_service: StartService) -> Scene:
    service = await start_service(device_login=True)
    alice = (await service.login(ALICE)).json()
    mallory = (await service.login(MALLORY)).json()
    return Scene(service, alice, service.keys[ALICE], mallory, service.keys[MALLORY])


def refused(answer: httpx.Response) -> bool:
    document = answer.json()
    return answer.status_code == 401 and document["detail"] == (
        "The request could not be authenticated."
    )


def jws(header: Any, payload: Any, sign: Any) -> str:
    parts = [it if isinstance(it, bytes) else jose.dumps(it) for it in (header, payload)]
    text = ".".join(jose.b64encode(part) for part in parts)
    return f"{text}.{jose.b64encode(sign(text.encode()))}"


def jwk_of(key: KeyPair) -> dict[str, str]:
    return {"kty": "OKP", "crv": "Ed25519", "x": jose.b64encode(key.public.raw)}


def leading_elsewhere(key: KeyPair) -> dict[str, dict[str, Any]]:
    """Headers that name a key of the attacker's."""
    return {
        "jwk": {"jwk": jwk_of(key)},
        "jku": {"jku": FOREIGN},
        "x5u": {"x5u": FOREIGN},
        "x5c": {"x5c": ["MIIB"]},
        **{f"kid {path[:12]!r}": {"kid": path} for path in PATHS},
        "crit": {"crit": ["exp"], "exp": 1},
        "b64": {"b64": False, "crit": ["b64"]},
        "zip": {"zip": "DEF"},
    }


def hs256(secret: bytes) -> Any:
    return lambda text: hmac.digest(secret, text, "sha256")


def identity_tokens(scene: Scene) -> dict[str, str]:
    """Access tokens for alice that no SyftBox server wrote."""
    now, key = int(time.time()), scene.key
    claims = {"type": "access", "iss": "https://syftbox.net", "sub": ALICE, "exp": now + 600}
    claims |= {"iat": now, "jti": "x"}
    header = {"alg": "HS256", "typ": "JWT"}
    guesses = [b"", b"\0", b"secret", b"null", SECRET.encode()[:-1], SECRET.encode() + b" "]
    found = {f"guess {guess[:9]!r}": jws(header, claims, hs256(guess)) for guess in guesses}
    for name, more in leading_elsewhere(key).items():
        for alg, sign in (("EdDSA", key.sign), ("HS256", hs256(b"")), ("none", lambda _: b"")):
            found[f"{name}, {alg}"] = jws({**header, "alg": alg, **more}, claims, sign)
    algorithms: list[Any] = [
        "none",
        "None",
        "NONE",
        "nOnE",
        "",
        None,
        ["HS256"],
        {"HS256": 1},
        True,
        0,
    ]
    for alg in algorithms:
        found[f"alg {alg!r}"] = jws({**header, "alg": alg}, claims, hs256(SECRET.encode()))
        found[f"alg {alg!r}, unsigned"] = jws({**header, "alg": alg}, claims, lambda _: b"")
    good = jws(header, claims, hs256(SECRET.encode()))
    head, body, signature = good.split(".")
    other = jose.b64encode(jose.dumps({**claims, "sub": "bob@example.com"}))
    found |= {
        "another payload": f"{head}.{other}.{signature}",
        "in JSON": jose.dumps(
            {"payload": body, "protected": head, "signature": signature}
        ).decode(),
        "JWE": f"{head}.{body}.{signature}.{body}.{signature}",
        "signature of lower case": f"{head}.{body}.{signature.swapcase()}",
        "a user JWT": scene.alice["jwt"],
        "the proof itself": scene.service.proof(key, "POST", CREDENTIALS, good),
        "sub twice": jws(
            header, jose.dumps(claims)[:-1] + b',"sub":"b@x"}', hs256(SECRET.encode())
        ),
    }
    return found


async def test_identity_tokens(scene: Scene) -> None:
    accepted = {}
    for name, token in identity_tokens(scene).items():
        for method in (None, "syftbox", "enrolment", "device"):
            body = {} if method is None else {"json": {"method": method}}
            answer = await scene.service.call(
                "POST", CREDENTIALS, "Bearer", token, KeyPair.generate(Prefix.USER), **body
            )
            if not refused(answer):
                accepted[name, method] = (answer.status_code, answer.text)
            if method is None and "guess" not in name:
                break  # the other methods read no JWT: some tokens do for them
    assert accepted == {}
    users = (await scene.service.admin("GET", "/v1/admin/users")).json()["items"]
    assert {it["username"] for it in users} == {ALICE, MALLORY}


def user_jwts(scene: Scene) -> dict[str, str]:
    """JWTs that make mallory's key alice's, or allow more; none by the account's signing key."""
    own = decode_user(scene.mallory["jwt"])
    alice = decode_user(scene.alice["jwt"])
    account, now = KeyPair.generate(Prefix.ACCOUNT), int(time.time())
    chosen: dict[str, UserClaims] = {
        "mine": own,
        "as alice": replace(own, name=alice.name, permissions=alice.permissions, tags=alice.tags),
        "alice's own": replace(alice, subject=own.subject),
        "for ever": replace(own, expires=0),
        "newer": replace(own, issued_at=now + 30, expires=now + 10**9),
        "of my account": replace(own, issuer_account=account.public.text),
        "of no account": replace(own, issuer_account=""),
    }
    found = {name: encode(claims, account) for name, claims in chosen.items()}
    header = {"typ": "JWT", "alg": "ed25519-nkey"}
    real = jose.split(scene.mallory["jwt"]).payload
    forged = {**real, "name": alice.name, "nats": jose.split(scene.alice["jwt"]).payload["nats"]}
    signers: dict[str, Any] = {
        "my key": scene.key.sign,
        "my account": account.sign,
        "the public key as a secret": hs256(real["iss"].encode()),
        "nobody": lambda _: b"",
        "zeros": lambda _: bytes(64),
    }
    for who, sign in signers.items():
        for alg in ("ed25519-nkey", "ed25519", "EdDSA", "HS256", "none", "", None):
            found[f"{alg} by {who}"] = jws({**header, "alg": alg}, forged, sign)
        for name, more in leading_elsewhere(scene.key).items():
            found[f"{name} by {who}"] = jws({**header, **more}, forged, sign)
    head, body, signature = scene.mallory["jwt"].split(".")
    found |= {
        "another payload": f"{head}.{jose.b64encode(jose.dumps(forged))}.{signature}",
        "members twice": jws(
            jose.dumps(header), jose.dumps(real)[:-1] + b',"sub":"x"}', scene.key.sign
        ),
        "alice's signature": f"{head}.{body}.{scene.alice['jwt'].rpartition('.')[2]}",
        "padded": f"{scene.mallory['jwt']}=",
        "alice's, with my proof": scene.alice["jwt"],
        "an access token": access_token(MALLORY),
        "the account's": scene.service.running.material.people,
        "huge": f"{head}.{'A' * 8000}.{signature}",
    }
    return {name: token for name, token in found.items() if isinstance(token, str)}


async def test_user_jwts(scene: Scene) -> None:
    accepted = {}
    forgeries = user_jwts(scene)
    for number, (name, token) in enumerate(forgeries.items()):
        # All at the two that matter most, and each other route sees its share.
        for method, path in {BY_JWT[0], BY_JWT[3], BY_JWT[number % len(BY_JWT)]}:
            answer = await scene.send(method, path, "DPoP", token)
            if not refused(answer):
                accepted[name, path] = (answer.status_code, answer.text)
    assert accepted == {}
    for method, path in BY_JWT:  # and the real one is known at all of them
        answer = await scene.send(method, path, "DPoP", scene.mallory["jwt"])
        assert answer.status_code not in {401, 403}, (path, answer.text)


def proofs(scene: Scene, method: str, path: str, token: str | None) -> dict[str, str]:
    """Proofs for the route that are not alice's, or are for something else."""
    key, alice, now = scene.key, scene.alice_key, int(time.time())
    url = scene.service.url + path
    good = {"jti": secrets.token_hex(8), "htm": method, "htu": url, "iat": now}
    if token is not None:
        good["ath"] = jose.b64encode(hashlib.sha256(token.encode()).digest())
    header = {"typ": "dpop+jwt", "alg": "EdDSA", "jwk": jwk_of(alice)}
    found = {
        "by another key": jws(header, good, key.sign),
        "HMAC by the public key": jws({**header, "alg": "HS256"}, good, hs256(alice.public.raw)),
        "a private key inside": jws(
            {**header, "jwk": {**jwk_of(alice), "d": jose.b64encode(bytes(32))}}, good, alice.sign
        ),
        "a shared key": jws({**header, "jwk": {"kty": "oct", "k": "AA"}}, good, hs256(b"\0")),
        "an empty header": jws({}, good, alice.sign),
        "typ JWT": jws({**header, "typ": "JWT"}, good, alice.sign),
        "a proof in JSON": jose.dumps({"payload": "x"}).decode(),
        "jwk twice": jws(
            jose.dumps(header)[:-1] + b',"jwk":' + jose.dumps(jwk_of(key)) + b"}", good, key.sign
        ),
    }
    for name, more in leading_elsewhere(key).items():
        by_mine = {name: it for name, it in {**header, **more}.items() if name != "jwk" or more}
        found[f"{name}, by mine"] = jws({**by_mine, **header}, good, key.sign)
        if name != "jwk":
            without = {name: it for name, it in by_mine.items() if name != "jwk"}
            found[f"{name} in place of jwk"] = jws(without, good, key.sign)
    for alg in ("none", "NONE", "ES256", "RS256", "ed25519", "Ed448", ["EdDSA"], None):
        found[f"alg {alg}"] = jws({**header, "alg": alg}, good, alice.sign)
    changes: dict[str, dict[str, Any]] = {
        "old": {"iat": now - 62},
        "early": {"iat": now + 63},
        "iat a text": {"iat": str(now)},
        "iat true": {"iat": True},
        "another method": {"htm": "PATCH"},
        "lower case": {"htm": method.lower()},
        "another route": {"htu": scene.service.url + "/v1/elsewhere"},
        "another host": {"htu": f"https://evil.example{path}"},
        "a prefix": {"htu": url[:-1]},
        "a longer path": {"htu": f"{url}/.."},
        "a path around": {"htu": url.replace("/v1/", "/v1/x/../")},
        "a doubled slash": {"htu": url.replace("/v1/", "//v1/")},
        "an escaped letter": {"htu": url.replace("/v1/", "/%76%31/")},
        "user information": {"htu": url.replace("://", "://x@")},
        "no jti": {"jti": None},
        "an empty jti": {"jti": ""},
        "a jti of megabytes": {"jti": "x" * 3000},
    }
    if token is not None:
        changes |= {"no ath": {"ath": None}, "ath of another": {"ath": jose.b64encode(bytes(32))}}
    for name, change in changes.items():
        found[name] = jws(header, {**good, **change}, alice.sign)
    return found


async def test_proofs(scene: Scene) -> None:
    accepted = {}
    token, jwt = access_token(ALICE), scene.alice["jwt"]
    for method, path, scheme, presented in (
        ("POST", CREDENTIALS, "Bearer", token),
        ("POST", RENEW, "DPoP", jwt),
        ("GET", ME, "DPoP", jwt),
    ):
        for name, proof in proofs(scene, method, path, presented).items():
            answer = await scene.send(method, path, scheme, presented, proof)
            if not refused(answer):
                accepted[name, path] = (answer.status_code, answer.text)
    for method, path in BY_PROOF_ALONE:
        for name, proof in proofs(scene, method, path, None).items():
            answer = await scene.service.http.request(method, path, headers={"DPoP": proof})
            if (answer.status_code, answer.json()["error"]) != (400, "invalid_dpop_proof"):
                accepted[name, path] = (answer.status_code, answer.text)
    assert accepted == {}


async def test_a_proof_works_once_wherever_it_changes_something(scene: Scene) -> None:
    service, key, jwt = scene.service, scene.alice_key, scene.alice["jwt"]
    for method, path in BY_JWT:
        if method == "GET":
            continue
        proof = service.proof(key, method, path, jwt)
        first = await scene.send(method, path, "DPoP", jwt, proof)
        assert first.status_code != 401, (path, first.text)
        again = await scene.send(method, path, "DPoP", jwt, proof)
        # What is not there changes nothing, however often it is asked for.
        assert refused(again) or first.status_code == again.status_code == 404, path
    path = "/v1/device/authorize"
    headers = {"DPoP": service.proof(key, "POST", path, None)}
    statuses = [(await service.http.post(path, headers=headers)).status_code for _ in range(2)]
    assert statuses == [200, 400]


def false_keys(key: str) -> list[str]:
    """What is nearly an API key."""
    digest = api_keys.digest(key)
    return [
        key[:-1], key[1:], key + "A", key + "=", key.swapcase(), key.upper(), key.lower(),
        key.replace("authsvc_", ""), key.replace("authsvc_", "AUTHSVC_"), f"authsvc_{key}",
        key.replace("_", "\uff3f"), unicodedata.normalize("NFKD", key) + "\u0301",
        "%61" + key[1:], key[:20] + "\u200b" + key[20:], key[:14], "authsvc_", "*", "%",
        "' OR '1'='1", digest, f"oidc:{digest}", f"{key} {key}", f"{key},{key}", "null",
        "authsvc_" + "A" * 43, "x" * 8000, key.replace("authsvc_", "authsvc_enrol_"), "once_" + key,
    ]  # fmt: skip


async def test_api_keys(scene: Scene) -> None:
    service = scene.service
    key = await service.api_key("admin")
    routes = [("GET", "/v1/admin/users"), ("POST", "/v1/admin/nats/push")]
    accepted = []
    for text in false_keys(key):
        for method, path in routes:
            given = [(b"Authorization", f"Bearer {text}".encode())]
            answer = await service.http.request(method, path, headers=given)
            if not refused(answer):
                accepted.append((text, answer.status_code))
    for headers in (
        {"Authorization": f"Basic {key}"},
        {"Authorization": f"DPoP {key}"},
        {"Authorization": key},
        {"X-API-Key": key},
        {"Cookie": f"authsvc-console={key}"},
        {"Proxy-Authorization": f"Bearer {key}"},
        {},
    ):
        answer = await service.http.get(f"/v1/admin/users?access_token={key}", headers=headers)
        assert refused(answer), headers
    assert accepted == []
    assert (await service.admin("GET", "/v1/admin/users", key=key)).status_code == 200


async def test_an_api_key_is_found_by_its_digest_alone(scene: Scene) -> None:
    """Nothing of the key is compared, so nothing of it shows in how long that takes."""
    key = await scene.service.api_key("admin")
    async with scene.service.running.database.reading() as session:
        rows = (await session.execute(select(ApiKey))).scalars().all()
    kept = [str(row.model_dump()) for row in rows]
    assert any(hashlib.sha256(key.encode()).hexdigest() in text for text in kept)
    # The prefix is what lists show: 6 of 43 characters, and no more of it is kept anywhere.
    assert not any(key[:15] in text for text in kept)
