"""``authsvc backup`` and ``restore`` as commands, beside a real service and its nats-server."""

from __future__ import annotations

import asyncio
import io
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client

from authsvc.claims import Creds
from authsvc.nkey import KeyPair
from authsvc.server.backup import Identity, bech32, sources, stanzas
from tests.cli.invoking import authsvc
from tests.fixtures import forks
from tests.fixtures.authsvc import LiveService, live_service
from tests.fixtures.nats import connect_options

SECRET = bytes(range(32))
RECIPIENT = Identity(SECRET).recipient.text
PASSPHRASE = "correct horse battery staple"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """scrypt at its full work takes a second; where nobody listens, five are waited."""
    monkeypatch.setattr(stanzas, "WORK", 10)
    monkeypatch.setattr(sources, "_CONNECT_SECONDS", 0.2)
    for name in [it for it in os.environ if it.startswith("AUTHSVC_")]:
        monkeypatch.delenv(name)


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[LiveService]:
    url = f"sqlite+aiosqlite:///{tmp_path / 'data' / 'authsvc.db'}"
    async with live_service(tmp_path / "data", url) as running:
        yield running


@pytest.fixture
def identity(tmp_path: Path) -> Path:
    path = tmp_path / "backup.key"
    key = bech32.encode("age-secret-key-", SECRET).upper()
    path.write_text(f"# public key: {RECIPIENT}\n{key}\n")
    return path


def last(out: str) -> Any:
    """What a command answered; the service in this process may have logged before."""
    return json.loads(out.splitlines()[-1])


async def connects(url: str, jwt: str, key: KeyPair) -> bool:
    client = Client()
    try:
        await client.connect(url, **connect_options(Creds(jwt, key)), allow_reconnect=False)
    except Exception:  # noqa: BLE001 - refused, by whatever words
        return False
    finally:
        await client.close()
    return True


async def test_a_service_comes_back_on_an_empty_machine(tmp_path: Path) -> None:
    """Old credentials connect and renew, revocations hold, the audit verifies."""
    file, words = tmp_path / "tonight.age", tmp_path / "passphrase"
    words.write_text(f"{PASSPHRASE}\n")
    words.chmod(0o600)
    data, target = tmp_path / "data", tmp_path / "new" / "data"
    async with live_service(data, f"sqlite+aiosqlite:///{data / 'authsvc.db'}") as service:
        alice = (await service.login("alice@example.com")).json()
        bob = (await service.login("bob@example.com")).json()
        keys = service.keys
        gone = await service.admin("POST", f"/v1/admin/credentials/{bob['id']}/revoke")
        assert gone.status_code == 200
        code, out, err = await authsvc(
            *("backup", "--data-dir", str(data), "--output", str(file), "--json"),
            *("--passphrase-file", str(words)),
        )
        assert (code, err) == (0, "")
        told = last(out)
        assert (told["file"], told["bytes"]) == (str(file), file.stat().st_size)
        assert (told["rows"]["users"], told["master_key"]) == (2, True)
        assert file.stat().st_mode & 0o777 == 0o600
        operator = service.running.material.operator
    code, out, err = await authsvc(
        *("restore", str(file), "--data-dir", str(target)), AUTHSVC_BACKUP_PASSPHRASE=PASSPHRASE
    )
    assert (code, err) == (0, "")
    assert operator in out
    assert "NOT ASKED" in out
    async with live_service(target, f"sqlite+aiosqlite:///{target / 'authsvc.db'}") as service:
        assert service.running.material.operator == operator
        assert await connects(service.nats_url, alice["jwt"], keys["alice@example.com"])
        assert not await connects(service.nats_url, bob["jwt"], keys["bob@example.com"])
        renewed = await service.renew(alice["jwt"], keys["alice@example.com"])
        assert renewed.status_code == 201
        assert (await service.renew(bob["jwt"], keys["bob@example.com"])).status_code >= 400
        again = await service.login("bob@example.com", keys["bob@example.com"])
        assert again.status_code == 409
    code, out, _ = await authsvc("audit", "verify", "--data-dir", str(target), "--json")
    assert (code, last(out)["ok"]) == (0, True)
    for secret in (PASSPHRASE, (target / "master.key").read_text().strip()):
        assert secret not in out
        assert secret.encode() not in file.read_bytes()


async def test_in_place_what_nats_server_last_held_counts(
    tmp_path: Path, service: LiveService, identity: Path
) -> None:
    """Its folder is newer than the backup: who was revoked in between stays out."""
    data, file = tmp_path / "data", tmp_path / "a.age"
    backup = ("backup", "--data-dir", str(data), "-o", str(file), "--recipient", RECIPIENT)
    restore = ("restore", str(file), "--data-dir", str(data), "--identity-file", str(identity))
    bob = (await service.login("bob@example.com")).json()
    assert (await authsvc(*backup))[0] == 0
    await service.admin("POST", f"/v1/admin/credentials/{bob['id']}/revoke")
    await service.running.reconciler.stop()
    code, _, err = await authsvc(*restore)
    assert (code, "--force" in err) == (3, True)
    code, out, err = await authsvc(*restore, "--force", "--json")
    assert (code, err) == (0, "")
    told: dict[str, Any] = last(out)
    assert [it["credentials"] for it in told["merged"]] == [[bob["id"]]]
    assert any("authsvc.db.before-" in it for it in told["aside"])


async def test_refusals_say_what_to_do(
    tmp_path: Path, service: LiveService, identity: Path
) -> None:
    data, file, target = tmp_path / "data", tmp_path / "a.age", tmp_path / "target"
    backup = ("backup", "--data-dir", str(data), "-o", str(file))
    restore = ("restore", str(file), "--data-dir", str(target))

    async def refused(*arguments: str, **env: str) -> tuple[int, str]:
        code, _, err = await authsvc(*arguments, **env)
        assert "Traceback" not in err
        assert not target.exists()
        return code, err

    code, err = await refused(*backup)
    assert (code, "passphrase is needed" in err) == (2, True)
    code, err = await refused(*backup, "--passphrase-file", str(tmp_path / "none"))
    assert (code, "can't be read" in err) == (1, True)
    code, err = await refused(*backup, "--recipient", RECIPIENT[:-1] + "x")
    assert (code, "age1" in err) == (1, True)
    code, err = await refused("backup", "--data-dir", str(target), "--recipient", RECIPIENT)
    assert (code, "no database" in err) == (4, True)
    assert not file.exists()
    code, _, err = await authsvc(*backup, AUTHSVC_BACKUP_PASSPHRASE="short")
    assert (code, "can be guessed" in err) == (0, True)
    code, err = await refused(*backup, AUTHSVC_BACKUP_PASSPHRASE=PASSPHRASE)
    assert (code, "there already" in err) == (3, True)
    code, err = await refused(*restore, AUTHSVC_BACKUP_PASSPHRASE="wrong")
    assert (code, "passphrase is not the one" in err) == (1, True)
    code, _, _ = await authsvc(*backup, "--force", "--recipient", RECIPIENT)
    assert code == 0
    code, err = await refused(*restore)
    assert (code, "--identity-file" in err) == (1, True)
    code, err = await refused(*restore, "--identity-file", str(file))
    assert (code, "can't be read" in err) == (1, True)
    code, err = await refused(
        *restore, "--identity-file", str(identity), "--merge-from", "nats://127.0.0.1:1"
    )
    assert (code, "revoked since" in err) == (4, True)
    file.write_bytes(file.read_bytes()[:-40])
    code, err = await refused(*restore, "--identity-file", str(identity))
    assert (code, "cut off" in err) == (1, True)
    file.write_text("no backup")
    code, err = await refused(*restore)
    assert (code, "no backup" in err) == (1, True)
    assert [it.name for it in tmp_path.iterdir() if ".a.age." in it.name] == []


async def test_it_can_be_looked_into(tmp_path: Path, service: LiveService, identity: Path) -> None:
    data, file = tmp_path / "data", tmp_path / "a.age"
    recipients = tmp_path / "recipients"
    recipients.write_text(f"# two\n{RECIPIENT}\n{Identity(b'x' * 32).recipient.text}\n")
    code, out, _ = await authsvc(
        *("backup", "--data-dir", str(data), "-o", str(file)),
        *("--recipients-file", str(recipients)),
    )
    assert code == 0
    assert "it holds the master key" in out
    look = ("restore", str(file), "--dry-run", "--identity-file", str(identity))
    code, out, _ = await authsvc(*look)
    assert code == 0
    assert "a whole backup" in out
    assert " audit_events" in out
    code, out, _ = await authsvc(*look, "--json")
    assert last(out)["database"] == "sqlite"
    code, out, _ = await authsvc("audit", "list", "--data-dir", str(data), "--json")
    key = await service.api_key("admin")
    items = (await service.admin("GET", "/v1/admin/audit", key=key)).json()["items"]
    assert "backup.create" in {item["action"] for item in items}


async def test_mailboxes_go_along(tmp_path: Path, service: LiveService, identity: Path) -> None:
    data, file = str(tmp_path / "data"), tmp_path / "a.age"
    backup = ("backup", "--data-dir", data, "-o", str(file), "--recipient", RECIPIENT)
    code, _, err = await authsvc(*backup, "--mailboxes")
    assert (code, "AUTHSVC_NATS_INTERNAL_URLS" in err, file.exists()) == (4, True, False)
    there = {"AUTHSVC_NATS_INTERNAL_URLS": service.nats_url}
    code, out, _ = await authsvc(*backup, "--mailboxes", **there)
    assert (code, "messages   0" in out) == (0, True)
    again = ("restore", str(file), "--data-dir", data, "--identity-file", str(identity))
    code, out, _ = await authsvc(*again, "--mailboxes", "--json", **there)
    assert (code, last(out)) == (0, {"stored": 0, "refused": 0})


async def test_to_standard_output(tmp_path: Path, service: LiveService) -> None:
    done = await _piped("backup", "--data-dir", str(tmp_path / "data"), "-o", "-")
    assert done.startswith(b"age-encryption.org/v1\n-> X25519 ")
    assert io.BytesIO(done).readline() == b"age-encryption.org/v1\n"


async def _piped(*arguments: str) -> bytes:
    process = await asyncio.create_subprocess_exec(
        *forks.authsvc(),
        *(*arguments, "--recipient", RECIPIENT),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out
