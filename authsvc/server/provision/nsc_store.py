"""Operator, accounts and keys as ``nsc`` keeps them in files, or in single files.

    given = read_store(Path("~/.local/share/nats/nsc/stores/acme"), keys_folder)
    given.operator_jwt, given.account_jwts, given.find("OA...")

Only what is needed is read: JWTs of the operator and the accounts, none of users; of the private
keys those that ``find`` is asked for.

Source: https://github.com/nats-io/nsc (the folders ``stores`` and ``keys``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from authsvc.errors import InvalidInput, InvalidKey
from authsvc.nkey import KeyPair
from authsvc.server.provision.adoption import FindKey

__all__ = ["Given", "find_in_files", "find_in_keystore", "read_files", "read_store"]

_MAX_BYTES = (1 << 20) + 1024
"""Of an account JWT and the lines around it."""


@dataclass(frozen=True, slots=True)
class Given:
    """What was read.

    Args:
        operator_jwt: As it is, but for white space around it.
        account_jwts: The same.
        find: Finds private keys.
    """

    operator_jwt: str = field(repr=False)
    account_jwts: tuple[str, ...] = field(repr=False)
    find: FindKey = field(repr=False)


def read_store(store: Path, keys: Path) -> Given:
    """Read a store of nsc's.

    Args:
        store: The operator's folder, such as ``~/.local/share/nats/nsc/stores/acme``.
        keys: The keystore, such as ``~/.local/share/nats/nsc/keys``.

    Raises:
        InvalidInput: It is none, or a file can't be read.
    """
    operators = sorted(store.glob("*.jwt"))
    if len(operators) != 1:
        raise InvalidInput(
            f"{store} is no operator's folder of an nsc store: it needs one JWT file beside the "
            "folder accounts, such as ~/.local/share/nats/nsc/stores/acme/acme.jwt"
        )
    accounts = sorted(path / f"{path.name}.jwt" for path in (store / "accounts").glob("*"))
    jwts = [_text(path) for path in accounts if path.parent.is_dir()]
    return Given(_text(operators[0]), tuple(jwts), find_in_keystore(keys))


def read_files(operator: Path, accounts: Iterable[Path], keys: Iterable[Path]) -> Given:
    """Read single files.

    Args:
        operator: The operator JWT.
        accounts: Account JWTs.
        keys: Private keys, one in each.

    Raises:
        InvalidInput: A file can't be read or holds no private key.
    """
    jwts = tuple(_text(path) for path in accounts)
    return Given(_text(operator), jwts, find_in_files(keys))


def find_in_keystore(folder: Path) -> FindKey:
    """Finds private keys in nsc's keystore: ``keys/O/AB/OAB....nk``."""

    def find(public_key: str) -> KeyPair | None:
        path = folder / "keys" / public_key[0] / public_key[1:3] / f"{public_key}.nk"
        if not path.is_file():
            return None
        pair = _key(path)
        if pair.public.text != public_key:
            raise InvalidInput(f"{path} holds another key than its name says")
        return pair

    return find


def find_in_files(paths: Iterable[Path]) -> FindKey:
    """Finds private keys among those in the files.

    Raises:
        InvalidInput: A file holds none.
    """
    return {pair.public.text: pair for pair in map(_key, paths)}.get


def _key(path: Path) -> KeyPair:
    try:
        return KeyPair.from_seed(_text(path))
    except InvalidKey as error:
        raise InvalidInput(f"{path} holds no private key: {error}") from None


def _text(path: Path) -> str:
    """A file of one JWT or seed."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        text = data.decode("ascii").strip()
    except UnicodeDecodeError:
        raise InvalidInput(f"{path} holds neither a JWT nor a key") from None
    except OSError as error:
        raise InvalidInput(f"{path} can't be read: {error.strerror}") from None
    if len(data) > _MAX_BYTES:
        raise InvalidInput(f"{path} is larger than any JWT")
    return _undecorated(text)


def _undecorated(text: str) -> str:
    """Without the lines that ``nsc describe --raw`` and ``generate`` put around a JWT."""
    lines = [line.strip() for line in text.splitlines()]
    inner = [line for line in lines if line and not line.startswith("-")]
    return inner[0] if len(inner) == 1 else text
