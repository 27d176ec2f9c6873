"""Operator, accounts and our own users, as nats-server enforces them."""

from __future__ import annotations

import time
from typing import Any

import orjson
from nats.errors import Error as NatsError

from authsvc.claims import Creds, Permissions, UserClaims, decode_account, encode, validate
from authsvc.nkey import KeyPair, Prefix
from authsvc.server.provision import accounts
from authsvc.server.provision.accounts import CROSSINGS
from tests.fixtures.nats import NatsKit, NewNats, Realm

REALM = Realm()


def test_all_claims_are_without_issues() -> None:
    for keys in (REALM.people, REALM.mail, REALM.system):
        assert validate(keys.claims, time.time()) == []
        assert decode_account(REALM.account_jwt(keys)).subject == keys.public


def test_exactly_five_services_cross() -> None:
    exports = {entry.subject: entry.response_type for entry in REALM.mail.claims.exports}
    assert exports == {
        "$JS.API.CONSUMER.MSG.NEXT.*.*": "Stream",
        "$JS.API.STREAM.MSG.GET.*": "Singleton",
        "$JS.ACK.>": "Stream",
        "requests.*.*.*.stored": "Singleton",
        "responses.*.*.*.*.stored": "Singleton",
    }
    imports = {entry.subject: entry.local_subject for entry in REALM.people.claims.imports}
    assert imports == {
        "$JS.API.CONSUMER.MSG.NEXT.*.*": "$JS.mail.API.CONSUMER.MSG.NEXT.$1.$2",
        "$JS.API.STREAM.MSG.GET.*": "$JS.mail.API.STREAM.MSG.GET.$1",
        "$JS.ACK.>": "",
        "requests.*.*.*.stored": "",
        "responses.*.*.*.*.stored": "",
    }
    assert {entry.account for entry in REALM.people.claims.imports} == {REALM.mail.public}
    assert {entry.type for entry in REALM.people.claims.imports} == {"service"}
    assert {entry.type for entry in REALM.mail.claims.exports} == {"service"}
    assert len(CROSSINGS) == 5


def test_only_mail_has_jetstream_and_no_one_imports_more() -> None:
    stored = {
        keys.claims.name: keys.claims.limits.jetstream.disk_storage
        for keys in (REALM.people, REALM.mail, REALM.system)
    }
    assert stored == {"PEOPLE": 0, "MAIL": -1, "SYS": 0}
    assert not REALM.people.claims.exports
    assert not REALM.mail.claims.imports
    assert not REALM.system.claims.imports
    assert not REALM.system.claims.exports


async def test_people_have_no_jetstream(nats_kit: NatsKit) -> None:
    """Even with leave to ask: the account itself has none."""
    everything = Permissions()
    everything.publish.allow = everything.subscribe.allow = (">",)
    client = await nats_kit.connect(nats_kit.user_creds("root@x.com", allowed=everything))
    answer = orjson.loads((await client.request("$JS.API.INFO", b"", timeout=5)).data)
    assert answer["error"]["err_code"] == 10039


def user(account: str, **changes: Any) -> tuple[UserClaims, KeyPair]:
    key = KeyPair.generate(Prefix.USER)
    values: dict[str, Any] = {
        "subject": key.public.text, "name": "u", "issuer_account": account,
        "issued_at": int(time.time()),
    }  # fmt: skip
    return UserClaims(**(values | changes)), key


async def refused(kit: NatsKit, claims: UserClaims, key: KeyPair, signer: KeyPair) -> bool:
    creds = Creds(encode(claims, signer), key)
    try:
        await kit.connect(creds)
    except NatsError as error:
        return "authorization violation" in str(error).lower()
    return False


async def test_only_signing_keys_sign(nats_kit: NatsKit) -> None:
    realm = nats_kit.realm
    people = realm.people
    claims, key = user(people.public)
    assert not await refused(nats_kit, claims, key, people.signing)
    for account in (people, realm.mail, realm.system):
        claims, key = user("", subject=key.public.text)
        assert await refused(nats_kit, claims, key, account.identity)
    # Another account's signing key, and a stranger's.
    for signer in (realm.mail.signing, realm.system.signing, KeyPair.generate(Prefix.ACCOUNT)):
        claims, key = user(people.public)
        assert await refused(nats_kit, claims, key, signer)


async def test_a_bearer_is_refused(nats_kit: NatsKit) -> None:
    people = nats_kit.realm.people
    claims, key = user(people.public, bearer_token=True)
    assert await refused(nats_kit, claims, key, people.signing)


async def test_an_account_signed_by_the_identity_key_is_not_taken(new_nats: NewNats) -> None:
    """Strict use of signing keys: the operator's identity key can stay offline."""
    kit = new_nats()
    client = await kit.connect(kit.realm.system_creds())
    kit.realm.set_accounts(kit.realm.now + 5)
    jwt = encode(kit.realm.people.claims, kit.realm.operator)
    answer = await client.request("$SYS.REQ.CLAIMS.UPDATE", jwt.encode(), timeout=5)
    assert (
        "requires issuer to be a signing key" in orjson.loads(answer.data)["error"]["description"]
    )


async def test_the_provisioner_sees_mail_and_nothing_else(nats_kit: NatsKit) -> None:
    creds = nats_kit.realm.provisioner_creds()
    client = await nats_kit.connect(creds)
    answer = orjson.loads((await client.request("$JS.API.INFO", b"", timeout=5)).data)
    assert "error" not in answer
    claims = accounts.provisioner_user(
        subject=creds.key.public.text, account=nats_kit.realm.mail.public, issued_at=1
    )
    assert all(entry.startswith("$JS.API.") for entry in claims.permissions.publish.allow)
    assert claims.permissions.subscribe.allow == ("_INBOX.authsvc-provisioner.>",)
