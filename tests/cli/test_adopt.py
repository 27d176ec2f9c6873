"""``authsvc nats adopt`` as a process of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from authsvc.server.settings import load
from authsvc.server.store import open_store
from tests.cli.shell import Ran, authsvc
from tests.fixtures.nsc import Nsc


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"AUTHSVC_DATA_DIR": str(tmp_path / "data"), "NO_COLOR": "1"}


async def adopt(nsc: Nsc, *arguments: str, env: dict[str, str]) -> Ran:
    return await authsvc(
        *("nats", "adopt", str(nsc.store), "--keys", str(nsc.keys), *arguments), env=env
    )


def silent_about_seeds(nsc: Nsc, ran: Ran) -> bool:
    return not any(path.read_text().strip() in ran.out + ran.err for path in nsc.keys.rglob("*.nk"))


async def test_a_dry_run_shows_it_and_writes_nothing(tmp_path: Path, env: dict[str, str]) -> None:
    nsc = Nsc.of_nsc()
    plain = await adopt(nsc, "--dry-run", env=env)
    assert plain.code == 0, plain.err
    assert plain.out.splitlines()[-1] == "nothing was written"
    for account in nsc.jwts:
        assert account in plain.out
    found = await adopt(nsc, "--dry-run", "--json", env=env)
    assert found.json == {
        "dry_run": True,
        "operator": {
            "name": "acme",
            "public_key": nsc.operator.subject,
            "identity_key": True,
            "signing_key": nsc.operator.signing_keys[0],
        },
        "restart_needed": False,
        "system_signing_key": next(iter(nsc.account("SYS").signing_keys)),
        "accounts": [
            {
                "name": name,
                "public_key": nsc.account(name).subject,
                "kind": "system" if name == "SYS" else "adopted",
                "jwt_bytes": len(nsc.jwt(name)),
            }
            for name in ("SYS", "billing", "orders")
        ],
    }
    assert silent_about_seeds(nsc, plain)
    assert not (tmp_path / "data").exists()


async def test_it_is_adopted_once(tmp_path: Path, env: dict[str, str]) -> None:
    nsc = Nsc.of_nsc()
    done = await adopt(nsc, env=env)
    assert done.code == 0, done.err
    assert "stays as it is" in done.out
    assert silent_about_seeds(nsc, done)
    for more in ((), ("--dry-run",)):
        again = await adopt(nsc, *more, env=env)
        assert (again.code, "has an operator already" in again.err) == (3, True)
    async with open_store(load(data_dir=tmp_path / "data")) as store:
        assert store.material.operator == nsc.operator.subject
        assert nsc.jwts.items() <= (await store.account_jwts()).items()


async def test_single_files_and_a_restart(tmp_path: Path, env: dict[str, str]) -> None:
    nsc = Nsc.write(tmp_path / "nsc")
    paths = {path.stem: str(path) for path in nsc.keys.rglob("*.nk")}
    (system,) = nsc.account("SYS").signing_keys
    arguments = ["nats", "adopt", "--operator-jwt", str(nsc.store / "acme.jwt")]
    for path in nsc.store.rglob("accounts/*/*.jwt"):
        arguments += ["--account-jwt", str(path)]
    arguments += ["--key", paths[system]]
    refused = await authsvc(*arguments, env=env)
    assert (refused.code, nsc.operator.subject in refused.err) == (1, True)
    assert not (tmp_path / "data").exists()
    done = await authsvc(*arguments, "--key", paths[nsc.operator.subject], env=env)
    assert done.code == 0, done.err
    assert "restart them" in done.out
    assert silent_about_seeds(nsc, done)


async def test_nkeys_path_is_heard(tmp_path: Path, env: dict[str, str]) -> None:
    nsc = Nsc.of_nsc()
    shutil.copytree(nsc.keys, tmp_path / "keys")
    env |= {"NKEYS_PATH": str(tmp_path / "keys")}
    found = await authsvc("nats", "adopt", str(nsc.store), "--dry-run", env=env)
    assert found.code == 0, found.err


async def test_usage(env: dict[str, str]) -> None:
    store = str(Nsc.of_nsc().store)
    for arguments in (
        [],
        [store, "--operator-jwt", "x"],
        [store, "--key", "x"],
        ["--operator-jwt", "x", "--keys", "x"],
    ):
        assert (await authsvc("nats", "adopt", *arguments, env=env)).code == 2
    missing = await authsvc("nats", "adopt", "--operator-jwt", "nowhere.jwt", env=env)
    assert (missing.code, "can't be read" in missing.err) == (1, True)
