"""Secrets are compared in constant time, or looked up by their digest: by construction.

Measuring nanoseconds through HTTP proves little; that no ``==`` stands between two secrets can be
read in the source.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "authsvc"
SECRET = re.compile(
    r"(^|_)(secret|token|password|passphrase|seed|digest|mac|csrf|state|nonce|code|verifier|"
    r"signature|api_key|ath|jti)$"
)
PUBLIC = {
    "authsvc/claims/": "what an administrator or a nats-server signs is compared with what is due",
    "authsvc/cli/": "runs as who owns the secret",
    "authsvc/rpc/": "request ids and chunks, judged after the signature",
    "authsvc/subjects.py": "tokens here are encoded names",
    "authsvc/server/provision/": "tokens here are encoded names, digests are of binaries",
    "authsvc/server/mailboxes/": "tokens here are encoded names",
    "authsvc/server/models/": "columns",
}
"""Where such a name is no secret that somebody from outside presents."""
DIGESTS = re.compile(r"col\((\w+)\.(\w*digest)\)")
"""A secret of 128 bits or more is found by its SHA-256 in the database: what takes longer tells of
the digest, which nobody can choose."""
KNOWN = {
    "authsvc/client.py": "a status",
    "authsvc/server/api/mailbox.py": "an error's number",
    "authsvc/dpop.py": "the hash of a token, in a proof by who presents that token",
    "authsvc/server/audit/verify.py": "an administrator's own audit, read from the database",
    "authsvc/server/console/routes.py": "the digest of a static file",
    "authsvc/server/console_sessions.py": "a lookup by digest, in the database",
}
"""Files with such a comparison, each with what it compares."""


def _comparisons() -> Iterator[tuple[str, ast.Compare, str]]:
    for file in sorted(PACKAGE.rglob("*.py")):
        source = file.read_text("utf-8")
        name = str(file.relative_to(PACKAGE.parent))
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Compare) and any(
                isinstance(it, ast.Eq | ast.NotEq) for it in node.ops
            ):
                yield name, node, ast.get_source_segment(source, node) or ""


def _names(node: ast.expr) -> set[str]:  # noqa: PLR0911  one for each kind
    """The names that an operand is made of; of what is called, not what is passed."""
    match node:
        case ast.Name():
            return {node.id}
        case ast.Attribute():
            return {node.attr}
        case ast.Call():
            inner = _names(node.func)
            if inner == {"len"}:
                return set()
            if inner <= {"get", "col"}:
                return {str(it.value) for it in node.args if isinstance(it, ast.Constant)}
            return inner | {name for it in node.args for name in _names(it)}
        case ast.Subscript() if isinstance(node.slice, ast.Constant):
            return {str(node.slice.value)}
    return set()


def test_no_secret_is_compared_letter_by_letter() -> None:
    wrong = []
    for file, node, text in _comparisons():
        sides = [node.left, *node.comparators]
        if any(file.startswith(place) for place in PUBLIC) or DIGESTS.search(text):
            continue
        if any(isinstance(side, ast.Constant) for side in sides):
            continue  # a secret is no constant of the source
        if any(SECRET.search(name) for side in sides for name in _names(side)):
            wrong.append((file, text))
    assert [it for it in wrong if it[0] not in KNOWN] == []
    assert {file for file, _ in wrong} == set(KNOWN)


def test_what_reads_secrets_compares_them_in_constant_time() -> None:
    for file in (
        "server/login/syftbox_secret.py",
        "server/login/sign_in.py",
        "server/console/calls.py",
        "server/api/device_page.py",
        "server/backup/envelope.py",
    ):
        assert "compare_digest(" in (PACKAGE / file).read_text("utf-8"), file
