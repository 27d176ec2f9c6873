"""``authsvc doctor`` against a real service, with one real thing broken after the other."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import insert, update
from sqlmodel import col
from structlog.testing import capture_logs

from authsvc.cli.doctor import keys, servers
from authsvc.cli.doctor import service as service_checks
from authsvc.nkey import KeyPair, Prefix
from authsvc.server.models import Account, Revocation
from authsvc.server.provision.mail_streams import Bounds
from tests.cli.invoking import authsvc
from tests.fixtures.authsvc import LiveService, live_service
from tests.fixtures.waiting import until

ALICE = "alice@example.com"


class Doctor:
    """The command, for a service's data directory or by its API alone."""

    def __init__(self, service: LiveService, data_dir: Path) -> None:
        self.service, self.data_dir = service, data_dir

    def context(self, key: str, url: str | None = None) -> None:
        path = self.data_dir / "context.json"
        path.write_text(json.dumps({"url": url or self.service.url, "api_key": key}))
        path.chmod(0o600)

    async def __call__(self, **env: str) -> tuple[int, dict[str, list[dict[str, Any]]]]:
        """Exit code, and the findings by check."""
        where = [] if "AUTHSVC_URL" in env else ["--data-dir", str(self.data_dir)]
        code, out, err = await authsvc("doctor", "--json", *where, **env)
        assert not err
        found: dict[str, list[dict[str, Any]]] = {}
        for item in json.loads(out)["findings"]:
            found.setdefault(item["check"], []).append(item)
        assert json.loads(out)["ok"] == (code == 0)
        return code, found


def states(found: dict[str, list[dict[str, Any]]]) -> dict[str, str]:
    """What is not well, by check."""
    bad = {check: [it["state"] for it in items] for check, items in found.items()}
    return {
        check: "fail" if "fail" in it else "warn" for check, it in bad.items() if set(it) != {"ok"}
    }


@pytest.fixture
async def doctor(tmp_path: Path, sqlite_url: str) -> AsyncIterator[Doctor]:
    data_dir = tmp_path / "data"
    url = f"sqlite+aiosqlite:///{data_dir / 'authsvc.db'}"
    with capture_logs():
        async with live_service(data_dir, url) as service:
            found = Doctor(service, data_dir)
            found.context(await service.api_key("admin"))
            await until(lambda: not service.running.faults)
            yield found


async def test_all_is_well_here_and_from_afar(doctor: Doctor) -> None:
    code, found = await doctor()
    assert (code, states(found)) == (0, {})
    local = {"settings", "nats-server here", "files", "disk", "database", "migrations"}
    remote = {"service", "clock", "logins", "nats-server", "jetstream", "resolver"}
    remote |= {"account JWT", "expiry", "keys", "API keys"}
    assert found.keys() == local | remote | {"master key", "locks"}
    key = await doctor.service.api_key("admin")
    code, found = await doctor(AUTHSVC_URL=doctor.service.url, AUTHSVC_API_KEY=key)
    assert (code, set(found)) == (0, remote)
    code, out, _ = await authsvc("doctor", "--data-dir", str(doctor.data_dir), NO_COLOR="1")
    assert code == 0
    assert out.rstrip().endswith(" ok, 0 to look at, 0 failed")
    assert "what mends it" in out


async def test_modes_are_mended_by_the_command(doctor: Doctor) -> None:
    for name, state in (("master.key", "fail"), ("context.json", "fail"), ("authsvc.db", "warn")):
        (doctor.data_dir / name).chmod(0o644)
        code, found = await doctor()
        assert (code, states(found)["files"]) == (int(state == "fail"), state), name
        (bad,) = [it for it in found["files"] if it["state"] != "ok"]
        mended = await asyncio.create_subprocess_exec(*shlex.split(bad["mend"]))
        assert await mended.wait() == 0
    doctor.data_dir.chmod(0o777)
    assert (await doctor())[1]["files"][0]["mend"] == f"chmod 700 {doctor.data_dir}"
    doctor.data_dir.chmod(0o700)
    draft = doctor.data_dir / "context.json.new"
    draft.touch()
    os.utime(draft, (1, 1))
    former = doctor.data_dir / "master.key.previous"
    former.write_text((doctor.data_dir / "master.key").read_text())
    former.chmod(0o600)
    code, found = await doctor()
    assert (code, states(found)) == (0, {"files": "warn", "master key": "warn"})
    assert "authsvc key rotate-master" in found["master key"][0]["mend"]
    assert f"rm {draft}" in [it["mend"] for it in found["files"]]


async def test_a_key_that_may_little_and_one_that_may_nothing(doctor: Doctor) -> None:
    doctor.context(await doctor.service.api_key("users:read"))
    code, found = await doctor()
    assert (code, states(found)) == (0, {"keys": "warn", "API keys": "warn"})
    doctor.context("no-key")
    code, found = await doctor()
    assert (code, states(found)["nats-server"]) == (1, "fail")
    ends = int(time.time()) + 3 * 86400
    doctor.context(await doctor.service.api_key("admin", expires_at=ends))
    code, found = await doctor()
    assert (code, states(found)) == (0, {"API keys": "warn"})
    assert found["API keys"][0]["mend"] == "authsvc api-key create test --scope admin"


async def test_servers_that_are_silent_or_gone(doctor: Doctor) -> None:
    service = doctor.service
    pid = service.supervisor.pid
    assert pid is not None
    await service.login(ALICE)
    os.kill(pid, signal.SIGSTOP)
    try:
        disabled = await service.admin("POST", f"/v1/admin/users/{ALICE}/disable")
        assert disabled.json()["propagation"]["state"] == "pending"
        await until(lambda: not service.running.reconciler.awake)
        code, found = await doctor()
        assert (code, states(found)["nats-server"]) == (1, "warn")
        assert states(found)["resolver"] == "fail"
        assert found["resolver"][0]["mend"] == "authsvc nats push"
        assert states(found)["service"] == "fail"
    finally:
        os.kill(pid, signal.SIGCONT)
    await until(lambda: bool(service.running.reconciler.awake))
    code, out, _ = await authsvc("nats", "push", "--data-dir", str(doctor.data_dir))
    assert (code, "pending" in out) == (0, False)
    assert "resolver" not in states((await doctor())[1])
    await service.supervisor.stop()
    await until(lambda: not service.running.reconciler.connected)
    code, found = await doctor()
    assert (code, states(found)["nats-server"]) == (1, "fail")
    assert "AUTHSVC_NATS_INTERNAL_URLS" in found["nats-server"][0]["mend"]


async def test_an_account_jwt_that_grows(doctor: Doctor) -> None:
    for count, state, code in ((6000, "warn", 0), (4700, "fail", 1)):
        await _revoke(doctor.service, count)
        found_code, found = await doctor()
        assert (found_code, states(found)) == (code, {"account JWT": state})
    assert "CREDENTIAL_TTL" in found["account JWT"][0]["mend"]


async def _revoke(service: LiveService, count: int) -> None:
    now, people = int(time.time()), service.running.material.people_id
    keys = [KeyPair.generate(Prefix.USER).public.text for _ in range(count)]
    rows = [
        {
            "id": f"rev_{key}",
            "account_id": people,
            "public_key": key,
            "revoked_at": now,
            "expires_at": now + 3600,
            "created_at": now,
        }
        for key in keys
    ]
    async with service.running.database.writing() as session:
        await session.execute(insert(Revocation), rows)
        raised = {"revision": col(Account.revision) + 1}
        await session.execute(update(Account).where(col(Account.id) == people).values(raised))
    found = await service.running.reconciler.propagate(people, wait=20)
    assert found.state == "applied"


async def test_room_for_streams(doctor: Doctor) -> None:
    service = doctor.service
    resolver, reconciler = service.running.reconciler.resolver, service.running.mail.reconciler
    assert resolver is not None
    (server,) = await resolver.servers()
    assert server.room is not None
    assert server.clock == pytest.approx(time.time(), abs=5)
    for email, share, state in ((ALICE, 0.93, "warn"), ("bob@example.com", 0.07, "fail")):
        # What a mailbox sets aside is a setting.
        size = int(server.room.most * share) - 1024
        reconciler._mailboxes.bounds = Bounds(replicas=1, max_bytes=size)
        body = (await service.login(email)).json()
        key, want = service.keys[email], {"responses": True}
        made = await service.call("PUT", "/v1/me/mailbox", "DPoP", body["jwt"], key, json=want)
        assert made.json()["propagation"]["state"] == "applied", made.text
        await resolver.servers()
        code, found = await doctor()
        assert (code, states(found)) == (int(state == "fail"), {"jetstream": state})


async def test_clocks(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    for off, state in ((-20, "warn"), (3600, "fail")):
        clock = SimpleNamespace(time=lambda off=off: time.time() + off)
        monkeypatch.setattr(service_checks, "time", clock)
        code, found = await doctor()
        assert (code, states(found)) == (int(state == "fail"), {"clock": state})
        assert ("ahead of" if off < 0 else "behind") in found["clock"][0]["detail"]


async def test_nobody_is_there(doctor: Doctor) -> None:
    doctor.context("key", "http://127.0.0.1:1")
    code, found = await doctor()
    # Somebody holds the lock here, and answers no more.
    assert (code, states(found)) == (1, {"service": "fail", "locks": "fail"})
    assert found["locks"][0]["mend"].startswith(f"kill {os.getpid()}, then start")
    assert found["service"][0]["mend"] == f"authsvc up --data-dir {doctor.data_dir}"
    doctor.context("key", f"{doctor.service.url}/docs")
    assert "not as authsvc does" in (await doctor())[1]["service"][0]["detail"]


def test_servers_of_others_that_are_not_fit() -> None:
    """What none of the nats-servers that are here can be."""
    server = {
        "name": "n1",
        "version": "2.14.2",
        "answers": True,
        "last_seen": "",
        "jetstream": None,
    }
    status = {"connected": True, "servers": [server], "accounts": [], "foreign": []}
    server["clock_ahead"] = -31.0
    found = {it.check: it for it in servers.server_findings(status)}
    assert (found["nats-server"].state, "2.14.3 or later" in found["nats-server"].detail) == (
        "fail",
        True,
    )
    assert (found["clock"].state, found["jetstream"].state) == ("fail", "fail")
    status["foreign"] = [{"account": "AX", "servers": ["n1"]}]
    assert {it.check: it for it in servers.server_findings(status)}["resolver"].state == "warn"


def test_keys_that_wait() -> None:
    old, key = "2026-01-01T00:00:00Z", {"owner": "account", "account": "people", "public_key": "A"}
    base = {**key, "created_at": old, "retire_after": None, "automatic": False}
    waits = {**base, "state": "prepared", "signs": False, "held": True}
    former = {**base, "state": "active", "signs": False, "held": True, "retire_after": old}
    lost = {**base, "state": "active", "signs": True, "held": False}
    found = keys.key_findings([waits, former, lost])
    assert [(it.state.value, it.mend) for it in found] == [
        ("warn", "authsvc key rotate --account people --step activate"),
        ("warn", "authsvc key retire --account people"),
        ("fail", "authsvc key import FILE"),
    ]
