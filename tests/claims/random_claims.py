"""Random claims as Go's library would write them in JSON, every member of every kind among them.

The tables below are written from the library's struct tags, not from our codec: they are what the
codec is held against. No member that Go leaves out when empty is ever empty.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from authsvc.nkey import KeyPair, Prefix

Make = Callable[[], Any]
ISSUERS = {
    "user": (Prefix.ACCOUNT,),
    "account": (Prefix.ACCOUNT, Prefix.OPERATOR),
    "operator": (Prefix.OPERATOR,),
}
SUBJECTS = {"user": Prefix.USER, "account": Prefix.ACCOUNT, "operator": Prefix.OPERATOR}
_CHARS = (
    "abcXYZ019.*>$ <&>\"\\/'{}[]:,\x00\x01\b\f\n\r\t\x1f\x7f\u2028\u2029é\ufeff\uffff日本\U0001f469"
)
_WORDS = ("a", "b", "*", ">", "$1", "news", "svc", "{{name()}}", "q q")
_ZONES = ("Europe/Berlin", "UTC", "not a zone")
_CIDRS = ("192.0.2.0/24", "2001:db8::/32", "192.0.2.1", "300.0.0.0/8")


class RandomClaims:
    """Makes payloads; the same ones for the same generator."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def key(self, prefix: Prefix) -> KeyPair:
        return KeyPair(prefix, self.rng.randbytes(32))

    def public(self, prefix: Prefix) -> str:
        return self.key(prefix).public.text

    def text(self) -> str:
        return "".join(self.rng.choices(_CHARS, k=self.rng.randint(1, 12)))

    def subject(self) -> str:
        if self.rng.random() < 0.1:
            return self.text()
        return ".".join(self.rng.choices(_WORDS, k=self.rng.randint(1, 4)))

    def whole(self, bits: int = 63) -> int:
        low, high = -(1 << bits), (1 << bits) - 1
        return self.rng.choice((-1, 1, 100, low, high, self.rng.randint(low, high) or 1))

    def true(self) -> bool:
        return True

    def many(self, make: Make, most: int = 3) -> list[Any]:
        return [make() for _ in range(self.rng.randint(1, most))]

    def some(self, table: dict[str, Make]) -> dict[str, Any]:
        """A random choice of the members, in the order of the table."""
        odds = self.rng.choice((0.1, 0.5, 0.9, 1.0))
        return {name: make() for name, make in table.items() if self.rng.random() < odds}

    def permission(self) -> dict[str, Any]:
        subjects = lambda: self.many(self.subject)  # noqa: E731 - a table of makers
        return self.some({"allow": subjects, "deny": subjects})

    def permissions(self) -> dict[str, Any]:
        members: dict[str, Any] = {"pub": self.permission(), "sub": self.permission()}
        if self.rng.random() < 0.5:
            members["resp"] = {"max": self.whole(53), "ttl": self.rng.choice((0, self.whole(53)))}
        return members

    def terms(self, bits: int) -> dict[str, Any]:
        texts = lambda: self.many(self.text)  # noqa: E731
        return self.some(
            {
                "src": lambda: self.many(lambda: self.rng.choice(_CIDRS)),
                "times": lambda: self.many(self.time_range),
                "times_location": lambda: self.rng.choice(_ZONES),
                "subs": lambda: self.whole(bits),
                "data": lambda: self.whole(bits),
                "payload": lambda: self.whole(bits),
                "bearer_token": self.true,
                "proxy_required": self.true,
                "allowed_connection_types": texts,
            }
        )

    def time_range(self) -> dict[str, Any]:
        clock = lambda: self.rng.choice(("08:00:00", "23:59:59", "24:00:00", "x"))  # noqa: E731
        return self.some({"start": clock, "end": clock})

    def user(self) -> dict[str, Any]:
        account = lambda: self.public(Prefix.ACCOUNT)  # noqa: E731
        return self.permissions() | self.terms(63) | self.some({"issuer_account": account})

    def operator(self) -> dict[str, Any]:
        return self.some({
            "signing_keys": lambda: self.many(lambda: self.public(Prefix.OPERATOR)),
            "account_server_url": lambda: self.rng.choice(("https://a.example.com/jwt", "x:1")),
            "operator_service_urls": lambda: self.many(
                lambda: self.rng.choice((
                    "nats://a:1", "wss://b", "http://c", "tls://u:p@d", "nats://e/f",
                ))
            ),
            "system_account": lambda: self.public(self.rng.choice((Prefix.ACCOUNT, Prefix.USER))),
            "assert_server_version": lambda: self.rng.choice(("2.14.3", "2.14", "x.y.z")),
            "strict_signing_key_usage": self.true,
        })  # fmt: skip

    def kind(self) -> str:
        return self.rng.choice(("stream", "service"))

    def import_(self) -> dict[str, Any]:
        return self.some(
            {
                "name": self.text,
                "subject": self.subject,
                "account": lambda: self.public(Prefix.ACCOUNT),
                "token": self.text,
                "to": self.subject,
                "local_subject": self.subject,
                "type": self.kind,
                "share": self.true,
                "allow_trace": self.true,
            }
        )

    def export(self) -> dict[str, Any]:
        return self.some(
            {
                "name": self.text,
                "subject": self.subject,
                "type": self.kind,
                "token_req": self.true,
                "revocations": lambda: self.revocations(Prefix.ACCOUNT),
                "response_type": lambda: self.rng.choice(("Singleton", "Stream", "Chunked", "x")),
                "response_threshold": self.whole,
                "service_latency": lambda: {
                    "sampling": self.rng.choice(("headers", 1, 50, 100)),
                    "results": self.rng.choice(("", self.subject())),
                },
                "account_token_position": lambda: self.rng.choice((1, 2, (1 << 64) - 1)),
                "advertise": self.true,
                "allow_trace": self.true,
                **self.info(),
            }
        )

    def info(self) -> dict[str, Make]:
        urls = ("https://example.com/?a=1&b=<2>", "no url", "x:")
        return {"description": self.text, "info_url": lambda: self.rng.choice(urls)}

    def revocations(self, prefix: Prefix) -> dict[str, int]:
        keys = ["*", self.text(), *(self.public(prefix) for _ in range(3))]
        return {key: self.rng.choice((0, self.whole())) for key in keys[: self.rng.randint(1, 5)]}

    def jetstream(self) -> dict[str, Make]:
        names = (
            "mem_storage", "disk_storage", "streams", "consumer", "max_ack_pending",
            "mem_max_stream_bytes", "disk_max_stream_bytes",
        )  # fmt: skip
        return {**dict.fromkeys(names, self.whole), "max_bytes_required": self.true}

    def limits(self) -> dict[str, Any]:
        tiers = lambda: {  # noqa: E731
            name: self.some(self.jetstream()) for name in self.rng.sample(("R1", "R3", "", "<"), 2)
        }
        return self.some(
            {
                **dict.fromkeys(("subs", "data", "payload", "imports", "exports"), self.whole),
                "wildcards": self.true,
                "disallow_bearer": self.true,
                "conn": self.whole,
                "leaf": self.whole,
                # Where there are tiers, Go forgets the limits beside them when it reads.
                **self.rng.choice((self.jetstream(), {"tiered_limits": tiers})),
            }
        )

    def signing_key(self) -> Any:
        key = self.public(self.rng.choice((Prefix.ACCOUNT, Prefix.ACCOUNT, Prefix.USER)))
        if self.rng.random() < 0.5:
            return key
        # Go reads templates by way of a double, and takes a missing limit for none.
        limits = {name: self.whole(53) for name in ("subs", "data", "payload")}
        return {
            "kind": "user_scope",
            "key": key,
            "role": self.rng.choice(("", self.text())),
            "template": self.permissions() | self.terms(53) | limits,
            "description": self.text(),
        }

    def mapping(self) -> list[Any]:
        target = lambda: {  # noqa: E731
            "subject": self.subject(),
            **self.some({"weight": lambda: self.rng.randint(1, 255), "cluster": self.text}),
        }
        return self.rng.choice(([], self.many(target)))

    def account(self) -> dict[str, Any]:
        before = self.some(
            {
                "imports": lambda: self.many(self.import_, 6),
                "exports": lambda: self.many(self.export, 6),
            }
        )
        between = self.some(
            {
                "signing_keys": lambda: self.many(self.signing_key),
                "revocations": lambda: self.revocations(Prefix.USER),
            }
        )
        after = self.some(
            {
                "trace": lambda: self.some({"dest": self.subject, "sampling": self.whole}),
                "cluster_traffic": lambda: self.rng.choice(("system", "owner", "x")),
                **self.info(),
            }
        )
        return {
            **before,
            "limits": self.limits(),
            **between,
            "default_permissions": self.permissions(),
            **self.some({"mappings": lambda: {self.subject(): self.mapping() for _ in range(2)}}),
            "authorization": self.some(
                {
                    "auth_users": lambda: self.many(lambda: self.public(Prefix.USER)),
                    "allowed_accounts": lambda: self.many(
                        lambda: self.rng.choice(("*", self.public(Prefix.ACCOUNT)))
                    ),
                    "xkey": self.text,
                }
            ),
            **after,
        }

    def payload(self, kind: str) -> tuple[dict[str, Any], KeyPair]:
        """A payload without ``iss`` and ``jti``, and a key that may sign it."""
        body = {"user": self.user, "account": self.account, "operator": self.operator}[kind]()
        if self.rng.random() < 0.5:
            body["tags"] = self.many(self.text)
        shared = self.some(
            {
                "aud": self.text,
                "exp": self.whole,
                "iat": self.whole,
                "name": self.text,
                "nbf": self.whole,
            }
        )
        shared["sub"] = self.public(SUBJECTS[kind])
        shared["nats"] = body | {"type": kind, "version": 2}
        return shared, self.key(self.rng.choice(ISSUERS[kind]))
