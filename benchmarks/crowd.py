"""People who log in again and again, renew and revoke, as requests ready to be sent.

people = Crowd(20_000, new_keys=0.1)
people.url = "http://127.0.0.1:8080"
ask = people.login()                # ask.request: bytes; ask.answered(body, granted=True) then
"""

from __future__ import annotations

import json
import random
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from authsvc import dpop
from authsvc.nkey import KeyPair, Prefix
from benchmarks.issue import access_token

__all__ = ["Ask", "Crowd", "Person"]

_TOKEN_SECONDS = 600
_chance = random.Random(7)  # noqa: S311 - the same people in each run


@dataclass(slots=True, eq=False)
class Person:
    """Somebody, and the last credential that was handed out."""

    email: str
    key: KeyPair
    credential: str = ""
    jwt: str = ""
    busy: bool = False
    """Something was asked and not answered yet: nobody asks twice at once."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A request, and what becomes of its answer."""

    kind: str
    request: bytes
    person: Person
    granted: Callable[[bytes], None]

    def answered(self, body: bytes, *, granted: bool) -> None:
        """Take the answer; who was refused goes on with what there was."""
        self.person.busy = False
        if granted:
            self.granted(body)


class Crowd:
    """So many people.

    Args:
        count: Of people.
        new_keys: The share of logins that come with a new nkey.
    """

    def __init__(self, count: int, new_keys: float) -> None:
        self.url = ""
        self._new_keys = new_keys
        self._people = [
            Person(f"user{number}@example.com", KeyPair.generate(Prefix.USER))
            for number in range(count)
        ]
        self._holders: list[Person] = []

    def login(self) -> Ask:
        """Of anybody; the one who logs in holds a credential from then on."""
        person = self._free(self._people)
        key = person.key
        if person.credential and _chance.random() < self._new_keys:
            key = KeyPair.generate(Prefix.USER)

        def granted(body: bytes) -> None:
            found = json.loads(body)
            if not person.credential:
                self._holders.append(person)
            person.key, person.jwt, person.credential = key, found["jwt"], found["id"]

        token = access_token(person.email, _TOKEN_SECONDS)
        request = self._request("POST", "/v1/credentials", "Bearer", token, key)
        return Ask("login", request, person, granted)

    def renew(self) -> Ask:
        """Of anybody who holds a credential."""
        if not self._holders:
            return self.login()
        person = self._free(self._holders)

        def granted(body: bytes) -> None:
            person.jwt = json.loads(body)["jwt"]

        request = self._request("POST", "/v1/credentials/renew", "DPoP", person.jwt, person.key)
        return Ask("renew", request, person, granted)

    def revoke(self) -> Ask:
        """A credential, by the one who holds it: then a new nkey is needed."""
        if not self._holders:
            return self.login()
        person = self._free(self._holders)

        def granted(_: bytes) -> None:
            self._holders.remove(person)
            person.key, person.credential = KeyPair.generate(Prefix.USER), ""

        path = f"/v1/credentials/{person.credential}"
        request = self._request("DELETE", path, "DPoP", person.jwt, person.key)
        return Ask("revoke", request, person, granted)

    def _free(self, people: list[Person]) -> Person:
        while (person := _chance.choice(people)).busy:
            pass
        person.busy = True
        return person

    def _request(self, method: str, path: str, scheme: str, token: str, key: KeyPair) -> bytes:
        proof = dpop.make(
            key,
            method,
            self.url + path,
            token=token,
            now=time.time(),
            jti=secrets.token_hex(16),
        )
        return (
            f"{method} {path} HTTP/1.1\r\nHost: {urlsplit(self.url).netloc}\r\n"
            f"Authorization: {scheme} {token}\r\nDPoP: {proof}\r\nContent-Length: 0\r\n\r\n"
        ).encode()
