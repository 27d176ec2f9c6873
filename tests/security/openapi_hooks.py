"""What schemathesis has to know of this service: proofs of possession, JSON lines, what is there.

Loaded by ``SCHEMATHESIS_HOOKS``, in a process of its own; whose keys, stands in the environment.
The person whom user routes are called as logs in again, under another name, once the cases before
have disabled, deleted or revoked them: otherwise nearly all that follows would be refused.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import random
import secrets
import time
from collections import defaultdict, deque
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jwt as pyjwt
import requests
import schemathesis
from schemathesis.core import media_types

from authsvc import dpop
from authsvc.nkey import KeyPair, Prefix

URL, API_KEY, SECRET = (os.environ[name] for name in ("FUZZ_URL", "FUZZ_API_KEY", "FUZZ_SECRET"))
# It takes a JWT for JSON, which it is not.
media_types.JSON_MEDIA_TYPES = media_types.JSON_MEDIA_TYPES - {("application", "jwt")}
CHANCE = random.Random(7)  # noqa: S311
_REFUSED = (401, 403)
_GRANT_TYPE = "urn:ietf:params:oauth:grant-type:device_code"
_OFTEN, _SELDOM = 0.6, 0.2


class Person:
    """Somebody with a credential and an app that is offline at times."""

    def __init__(self, number: int) -> None:
        self.name = f"fuzz{number}@example.com"
        self.key = KeyPair.generate(Prefix.USER)
        claims = {"type": "access", "sub": self.name, "exp": int(time.time()) + 36_000}
        self.token = pyjwt.encode(claims, SECRET, "HS256")
        answer = self.call("POST", "/v1/credentials", f"Bearer {self.token}", self.token)
        self.jwt = str(answer.json()["jwt"])
        path = "/v1/me/apps/chat"
        self.call("PUT", path, f"DPoP {self.jwt}", self.jwt, json={"offline": True})
        self.refused = 0
        known["username"].append(self.name)
        known["app"].append("chat")
        known["credential_id"].append(answer.json()["id"])

    def call(self, method: str, path: str, authorization: str, token: str, **more: Any) -> Any:
        proof = self.proof(method, f"{URL}{path}", token)
        headers = {"Authorization": authorization, "DPoP": proof}
        return requests.request(method, f"{URL}{path}", headers=headers, timeout=20, **more)

    def proof(self, method: str, url: str, token: str | None, key: KeyPair | None = None) -> str:
        jti, now = secrets.token_hex(16), time.time()
        return dpop.make(key or self.key, method, url, token=token, now=now, jti=jti)


known: defaultdict[str, deque[str]] = defaultdict(lambda: deque(maxlen=20))
"""What was seen in answers, by the parameter of a path that it fits."""
_BY_PREFIX = {
    "usr_": "username",
    "crd_": "credential_id",
    "grt_": "grant_id",
    "key_": "key_id",
    "enk_": "key_id",
    "ded_": "letter_id",
}
_BY_NAME = {"username", "user_code", "device_code", "role", "app", "name"}
people: list[Person] = []
_OURS: set[str] = set()
"""Ids of the API keys that there are before: whoever revokes them is refused from then on."""
tally: defaultdict[str, defaultdict[int, int]] = defaultdict(lambda: defaultdict(int))
"""By operation and status."""


@atexit.register
def tell() -> None:
    """For the test that started this process."""
    Path(os.environ["FUZZ_TALLY"]).write_text(json.dumps(tally))


def _person() -> Person:
    if not _OURS:
        headers = {"Authorization": f"Bearer {API_KEY}"}
        answer = requests.get(f"{URL}/v1/admin/api-keys", headers=headers, timeout=20)
        _OURS.update(item["id"] for item in answer.json()["items"])
    if not people or people[-1].refused:
        people.append(Person(len(people)))
    return people[-1]


@schemathesis.serializer("application/x-ndjson")
def lines(_context: Any, value: Any) -> bytes:
    """One line, or several."""
    items = value if isinstance(value, list) else [value]
    return b"".join(json.dumps(item).encode("utf-8", "replace") + b"\n" for item in items)


@schemathesis.deserializer("application/x-ndjson")
def results(_context: Any, response: Any) -> Any:
    """The result of the first line stands for all."""
    return json.loads(response.text.splitlines()[0])


@schemathesis.deserializer("application/jwt")
def text(_context: Any, response: Any) -> Any:
    """A JWT is the text that it is."""
    return response.text


@schemathesis.hook
def before_call(_context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Let the request come from somebody who may, and often be about something that is there."""
    for name in case.path_parameters or ():
        if known[name] and CHANCE.random() < _OFTEN:
            case.path_parameters[name] = CHANCE.choice(known[name])
    named = isinstance(case.body, dict) and "username" in case.body
    if named and known["username"] and CHANCE.random() < _OFTEN:
        case.body["username"] = CHANCE.choice(known["username"])
    if isinstance(case.body, dict) and CHANCE.random() < _OFTEN:
        _make_likely(f"{case.method.upper()} {case.operation.path}", case.body)
    raw = case.operation.definition.raw
    schemes = {name for each in raw.get("security") or () for name in each}
    by_proof = any(parameter.get("name") == "DPoP" for parameter in raw.get("parameters", []))
    person = _person()
    key, token = person.key, None
    if "api_key" in schemes:
        case.headers["Authorization"] = f"Bearer {API_KEY}"
    elif "credential" in schemes:
        token = person.jwt
        case.headers["Authorization"] = f"DPoP {token}"
    elif "identity" in schemes:
        token = person.token
        case.headers["Authorization"] = f"Bearer {token}"
        if CHANCE.random() < _SELDOM:
            key = KeyPair.generate(Prefix.USER)
    if by_proof:
        sent = case.as_transport_kwargs(base_url=URL)
        prepared = requests.Request(sent["method"], sent["url"]).prepare()
        url = f"{URL}{urlsplit(str(prepared.url)).path}"
        case.headers["DPoP"] = person.proof(case.method.upper(), url, token, key)


def _make_likely(operation: str, body: dict[str, Any]) -> None:
    """Say what no text at random does: a subject that may be granted, a code that was given."""
    if operation == "POST /v1/admin/grants" and known["username"]:
        body.clear()
        body.update(username=CHANCE.choice(known["username"]), publish=["shared.news"])
    elif operation == "POST /v1/admin/explain":
        body.update(subject="shared.news", app=None)
    elif operation == "POST /v1/device/token" and known["device_code"]:
        body.update(grant_type=_GRANT_TYPE, device_code=CHANCE.choice(known["device_code"]))


@schemathesis.hook
def after_call(_context: Any, case: Any, response: Any) -> None:
    """Remember what there is, and that somebody is refused."""
    tally[f"{case.method.upper()} {case.operation.path}"][response.status_code] += 1
    scheme = str((response.request.headers or {}).get("Authorization", ""))
    if response.status_code in _REFUSED and not scheme.startswith(f"Bearer {API_KEY}"):
        people[-1].refused += 1
    with contextlib.suppress(ValueError):
        _remember(json.loads(response.text))


def _remember(value: Any) -> None:
    if isinstance(value, list):
        for item in value[:5]:
            _remember(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            if isinstance(item, str) and (not item.strip(".") or "/" in item or item in _OURS):
                continue  # a path can't carry it, or nobody may change it
            if isinstance(item, str) and name in _BY_NAME:
                known[name].append(item)
            elif isinstance(item, str) and name in {"account", "operator"}:
                known["public_key"].append(item)
            elif isinstance(item, str) and (found := _BY_PREFIX.get(item[:4])):
                known[found].append(item)
            elif isinstance(item, list | dict):
                _remember(item)
