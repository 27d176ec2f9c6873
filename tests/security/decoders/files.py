"""Files and bodies: backups, imports, operator material that is adopted, keys, forms, settings.

A backup that was changed is refused by its seal. So one decoder seals whatever lines there are:
it may have been made by somebody else who has the key, or the passphrase.
"""

from __future__ import annotations

import hashlib
import io
import json
from itertools import islice

from starlette.requests import Request

from authsvc import jose
from authsvc.claims import AccountClaims, OperatorClaims, encode
from authsvc.credential import Credential
from authsvc.errors import StartRefused
from authsvc.nkey import KeyPair, Prefix
from authsvc.server.api.admin.deps import read_username
from authsvc.server.api.admin.imports import MAX_LINE_BYTES, _read
from authsvc.server.api.admin.ndjson import Line, Lines
from authsvc.server.api.forms import read_form
from authsvc.server.backup import Identity, Recipient, bech32
from authsvc.server.backup.envelope import Sealed
from authsvc.server.backup.lines import LineWriter, read_lines, values_of
from authsvc.server.backup.manifest import read_ending, read_head
from authsvc.server.backup.messages import _parts
from authsvc.server.backup.reading import Reader
from authsvc.server.keystore.files import _decode as read_master_key
from authsvc.server.provision.adoption import check
from tests.security.decoders.decoder import Decoder, as_text

NOW = 1_700_000_000
IDENTITY = Identity(bytes(range(32)))
OPERATOR, ACCOUNT = KeyPair(Prefix.OPERATOR, bytes(32)), KeyPair(Prefix.ACCOUNT, bytes(32))
HEAD = {
    "format": "authsvc backup",
    "version": 1,
    "id": "x",
    "made_at": NOW,
    "authsvc": "0.1.0",
    "revision": "0001",
    "database": "sqlite",
    "operator": None,
    "master_keys": 1,
    "tables": {"users": {"columns": {"id": "text", "at": "integer", "b": "bytes"}, "rows": 1}},
    "mailboxes": True,
}
MESSAGE = {"subject": "requests.a.b.c.stored", "headers": "TkFUUw==", "data": "eA==", "time": "t"}
BODY = [
    {"head": HEAD},
    {"master_keys": ["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="]},
    {"table": "users"},
    ["a", 1, "eA=="],
    {"message": MESSAGE},
]
LINES = b"".join(jose.dumps(value) + b"\n" for value in BODY)
ENDING = {
    "sha256": hashlib.sha256(LINES).hexdigest(),
    "digests": {"users": hashlib.sha256(jose.dumps(BODY[3]) + b"\n").hexdigest()},
    "messages": 1,
}
TEXT = LINES + jose.dumps({"end": ENDING}) + b"\n"


def _read_backup(file: io.BytesIO) -> None:
    reader = Reader(file, [IDENTITY])
    for _ in reader.rows():
        pass
    for message in reader.messages():
        _parts(message)


def _backup(data: bytes) -> None:
    _read_backup(io.BytesIO(data))


def sealed(text: bytes, *, packed: bool = True) -> bytes:
    """A file that the identity opens, with whatever text."""
    file = io.BytesIO()
    seal = Sealed(file, [IDENTITY.recipient])
    if packed:
        writer = LineWriter(seal)
        writer._sealed.write(writer._packer.compress(text))
        writer.close()
    else:
        seal.write(text)
        seal.close()
    return file.getvalue()


def _resealed(data: bytes) -> None:
    _read_backup(io.BytesIO(sealed(data)))


def _packed(text: bytes) -> bytes:
    file = io.BytesIO()
    writer = LineWriter(Sealed(file, [IDENTITY.recipient]))
    return writer._packer.compress(text) + writer._packer.flush()


def _unpack(data: bytes) -> object:
    """A million lines fit into a kilobyte; whoever reads them stops at the first that is none."""
    return [len(line) for line in islice(read_lines([data]), 10_000)]


def _message(data: bytes) -> object:
    value = values_of(data)
    return _parts(value) if isinstance(value, dict) else None


def _import(data: bytes) -> object:
    lines = Lines(MAX_LINE_BYTES)
    found = [*lines.feed(data[: len(data) // 2]), *lines.feed(data[len(data) // 2 :])]
    return [_read(Line(line.number, line.content)) for line in (*found, *lines.end())]


def _adopted(data: bytes) -> object:
    """Two lines: the payloads of an operator's and of its system account's JWT, signed."""
    first, _, second = data.partition(b"\n")
    head = jose.b64encode(jose.dumps({"typ": "JWT", "alg": "ed25519-nkey"}))

    def signed(payload: bytes) -> str:
        text = f"{head}.{jose.b64encode(payload)}"
        return f"{text}.{jose.b64encode(OPERATOR.sign(text.encode()))}"

    keys = {key.public.text: key for key in (OPERATOR, ACCOUNT)}
    return check(signed(first), [signed(second)], keys.get, now=NOW)


def _material() -> bytes:
    operator = OperatorClaims(
        subject=OPERATOR.public.text, name="o", system_account=ACCOUNT.public.text, issued_at=NOW
    )
    account = AccountClaims(subject=ACCOUNT.public.text, name="SYS", issued_at=NOW)
    payloads = (encode(claims, OPERATOR).split(".")[1] for claims in (operator, account))
    return b"\n".join(map(jose.b64decode, payloads))


def _form(kind: str) -> Decoder:
    def read(data: bytes) -> object:
        async def receive() -> dict[str, object]:
            return {"type": "http.request", "body": data, "more_body": False}

        scope = {"type": "http", "method": "POST", "headers": [(b"content-type", kind.encode())]}
        running = read_form(Request(scope, receive))
        try:
            running.send(None)
        except StopIteration as end:
            return end.value
        running.close()
        raise AssertionError("the form waits for something")

    good = b'{"client_id":"a","scope":"b"}' if "json" in kind else b"client_id=a%20b&scope=c"
    return Decoder(read, (good,))


CREDENTIAL = {
    **dict.fromkeys(("id", "username", "subject_token", "public_key"), "x"),
    **dict.fromkeys(("account", "jwt", "inbox_prefix"), "x"),
    **dict.fromkeys(("issued_at", "expires_at", "renew_after"), "2026-01-01T00:00:00Z"),
    "servers": ["nats://a"],
    "expires_in": 5,
    "renew_in": 4.5,
}

DECODERS: dict[str, Decoder] = {
    "import": Decoder(
        _import,
        (
            b'\xef\xbb\xbf{"username":"a@x"}\n\n{"username":"b","kind":"service"}\r\n',
            b'{"username":"a@x","external_id":"e","limits":{"subscriptions":5}}\n',
        ),
    ),
    "adoption, signed": Decoder(_adopted, (_material(),)),
    "backup": Decoder(
        _backup,
        (sealed(TEXT),),
    ),
    "backup, sealed": Decoder(_resealed, (TEXT,)),
    "backup, unpacked": Decoder(_unpack, (_packed(b"a\nbc\n"), _packed(b"\n" * 70_000))),
    "backup's line": Decoder(values_of, (b'["a",1,null]',)),
    "backup's head": Decoder(
        lambda data: read_head(values_of(data)), (json.dumps({"head": HEAD}).encode(),)
    ),
    "backup's end": Decoder(
        lambda data: read_ending(values_of(data)), (json.dumps({"end": ENDING}).encode(),)
    ),
    "backup's message": Decoder(_message, (json.dumps(MESSAGE).encode(),)),
    "age's public key": Decoder(as_text(Recipient.from_text), (IDENTITY.recipient.text.encode(),)),
    "age's private key": Decoder(
        as_text(Identity.from_text), (bech32.encode("age-secret-key-", bytes(32)).upper().encode(),)
    ),
    "master key": Decoder(
        as_text(lambda text: read_master_key(text, "a test")),
        (b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", b"00" * 32),
        errors=(StartRefused,),
    ),
    "form": _form("application/x-www-form-urlencoded"),
    "form in JSON": _form("application/json"),
    "cursor": Decoder(as_text(read_username), (b"YUB4",)),
    "credential": Decoder(
        lambda data: Credential.parse(jose.loads(data)), (json.dumps(CREDENTIAL).encode(),)
    ),
}
