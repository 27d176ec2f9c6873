from __future__ import annotations

import asyncio
import base64
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authsvc.errors import KeyUnavailable, StartRefused, WrongMasterKey
from authsvc.nkey import KeyPair, Prefix
from authsvc.server.database import Database
from authsvc.server.keystore import Keystore, load_master_key, verify_master_key
from authsvc.server.settings import load

KEY = bytes(range(32))
PAIR = KeyPair.generate(Prefix.ACCOUNT)


@pytest.mark.parametrize("prefix", list(Prefix))
def test_every_kind_of_key_comes_back(prefix: Prefix) -> None:
    pair = KeyPair.generate(prefix)
    sealed = Keystore(KEY).seal(pair, pair.public.text)
    opened = Keystore(KEY).open(sealed, pair.public.text)
    assert opened.seed == pair.seed
    assert pair.seed.encode() not in sealed


def test_the_same_key_is_never_sealed_alike() -> None:
    keystore = Keystore(KEY)
    assert len({keystore.seal(PAIR, "a") for _ in range(100)}) == 100


def test_another_master_key_does_not_open() -> None:
    sealed = Keystore(KEY).seal(PAIR, "a")
    with pytest.raises(KeyUnavailable, match="another master key"):
        Keystore(KEY[::-1]).open(sealed, "a")


def test_of_two_master_keys_the_database_s_seals() -> None:
    old, new = Keystore(KEY), Keystore(KEY[::-1], KEY)
    sealed = old.seal(PAIR, "a")
    new.follow(sealed)
    assert old.open(new.seal(PAIR, "a"), "a").seed == PAIR.seed
    moved = new.reseal(sealed, "a")
    assert not new.by_newest(sealed)
    assert new.by_newest(moved)
    # Opening what the newest one sealed tells that the database has changed over.
    assert new.open(moved, "a").seed == PAIR.seed
    assert new.by_newest(new.seal(PAIR, "a"))
    with pytest.raises(KeyUnavailable, match="another master key"):
        old.open(moved, "a")


def test_an_unknown_master_key_is_looked_for_once_more() -> None:
    keys = [KEY]
    keystore = Keystore(KEY, reload=lambda: keys)
    sealed = Keystore(KEY[::-1]).seal(PAIR, "a")
    with pytest.raises(KeyUnavailable, match="another master key"):
        keystore.open(sealed, "a")
    keys.insert(0, KEY[::-1])
    assert keystore.open(sealed, "a").seed == PAIR.seed
    assert keystore.open(Keystore(KEY).seal(PAIR, "a"), "a").seed == PAIR.seed


def test_what_was_removed_is_not_here() -> None:
    with pytest.raises(KeyUnavailable, match="not here"):
        Keystore(KEY).open(b"", "a")


def test_another_context_does_not_open() -> None:
    keystore = Keystore(KEY)
    with pytest.raises(KeyUnavailable, match="belongs to something else"):
        keystore.open(keystore.seal(PAIR, "a"), "b")


def test_no_flipped_bit_opens() -> None:
    keystore = Keystore(KEY)
    sealed = keystore.seal(PAIR, "a")
    for place in range(len(sealed) * 8):
        changed = bytearray(sealed)
        changed[place // 8] ^= 1 << place % 8
        with pytest.raises(KeyUnavailable):
            keystore.open(bytes(changed), "a")


@given(st.binary(max_size=120))
def test_rubbish_does_not_open(rubbish: bytes) -> None:
    keystore = Keystore(KEY)
    for sealed in (rubbish, keystore.seal(PAIR, "a")[: len(rubbish)]):
        with pytest.raises(KeyUnavailable):
            keystore.open(sealed, "a" if sealed is rubbish else "b")


def test_what_is_sealed_must_be_a_key() -> None:
    keystore = Keystore(KEY)
    with pytest.raises(KeyUnavailable, match="no private key"):
        keystore.open(keystore.seal_bytes(b"something", "a"), "a")


@pytest.mark.parametrize(
    "text",
    [
        KEY.hex(),
        KEY.hex().upper(),
        base64.b64encode(KEY).decode(),
        base64.urlsafe_b64encode(bytes([255] * 32)).decode(),
        base64.b64encode(KEY).decode().rstrip("="),
    ],
)
def test_the_setting_in_base64_and_hex(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = bytes([255] * 32) if text.startswith("__") else KEY
    assert load_master_key(load(data_dir=tmp_path, master_key=text)) == wanted
    path = tmp_path / "key"
    path.write_text(text + "\n")
    monkeypatch.setenv("AUTHSVC_MASTER_KEY_FILE", str(path))
    assert load_master_key(load(data_dir=tmp_path)) == wanted
    assert not (tmp_path / "master.key").exists()


@pytest.mark.parametrize("text", ["short", "zz" * 32, KEY.hex()[:-2], "é" * 43, KEY.hex() + "00"])
def test_a_setting_that_is_no_key_is_refused_and_not_shown(text: str, tmp_path: Path) -> None:
    with pytest.raises(StartRefused, match="AUTHSVC_MASTER_KEY is no master key") as caught:
        load_master_key(load(data_dir=tmp_path, master_key=text))
    assert text not in str(caught.value)


def test_the_first_start_makes_a_private_file(tmp_path: Path) -> None:
    settings = load(data_dir=tmp_path / "new")
    key = load_master_key(settings)
    path = tmp_path / "new" / "master.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert load_master_key(settings) == key
    assert [entry.name for entry in path.parent.iterdir()] == ["master.key"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_that_others_can_read_is_refused(mode: int, tmp_path: Path) -> None:
    settings = load(data_dir=tmp_path)
    load_master_key(settings)
    (tmp_path / "master.key").chmod(mode)
    with pytest.raises(StartRefused, match="chmod 600"):
        load_master_key(settings)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\xff\xfe\x00"])
def test_a_file_that_is_no_key_is_refused(content: bytes, tmp_path: Path) -> None:
    settings = load(data_dir=tmp_path)
    load_master_key(settings)
    (tmp_path / "master.key").write_bytes(content)
    with pytest.raises(StartRefused, match="no master key"):
        load_master_key(settings)


def test_a_folder_that_can_not_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartRefused, match="can't be used"):
        load_master_key(load(data_dir=tmp_path / "file"))


def test_first_starts_at_once_agree_on_one_key(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from authsvc.server.keystore import load_master_key\n"
        "from authsvc.server.settings import load\n"
        "settings = load(data_dir=Path(sys.argv[1]))\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "print(load_master_key(settings).hex())\n"
    )
    starts = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "new")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for start in starts:
        assert start.stdout is not None
        assert start.stdout.readline() == "ready\n"
    for start in starts:
        assert start.stdin is not None
        start.stdin.write("\n")
        start.stdin.flush()
    keys = {start.communicate(timeout=30)[0] for start in starts}
    assert len(keys) == 1
    assert [entry.name for entry in (tmp_path / "new").iterdir()] == ["master.key"]


async def test_the_database_knows_its_master_key(database: Database) -> None:
    for _ in range(2):
        async with database.writing() as session:
            await verify_master_key(session, Keystore(KEY))
    for wrong in (KEY[::-1], bytes(32)):
        async with database.reading() as session:
            with pytest.raises(WrongMasterKey, match=r"AUTHSVC_MASTER_KEY.*backup"):
                await verify_master_key(session, Keystore(wrong))


async def test_replicas_may_start_for_the_first_time_together(postgres_url: str) -> None:
    first, second = Database(postgres_url), Database(postgres_url)

    async def start(database: Database, key: bytes) -> None:
        async with database.writing() as session:
            await verify_master_key(session, Keystore(key))

    try:
        async with first.writing() as session:
            await verify_master_key(session, Keystore(KEY))
            same = asyncio.create_task(start(second, KEY))
            other = asyncio.create_task(start(second, KEY[::-1]))
            await asyncio.sleep(0.2)
            assert not same.done()
        await same
        with pytest.raises(WrongMasterKey):
            await other
    finally:
        await first.stop()
        await second.stop()
