from __future__ import annotations

import inspect
import re

import pytest

from authsvc import errors

CLASSES = {
    name: value
    for name, value in vars(errors).items()
    if inspect.isclass(value) and value.__module__ == errors.__name__
}
BRANCH = re.compile(r"^ {4}([│├└─ ]*)([A-Z]\w+)", re.MULTILINE)


def drawn() -> dict[str, str | None]:
    """Each name in the docstring's tree and the name above it."""
    tree: dict[str, str | None] = {}
    path: list[str] = []
    assert errors.__doc__ is not None
    for branch, name in BRANCH.findall(errors.__doc__):
        depth = len(branch) // 4
        assert name not in tree
        tree[name] = path[depth - 1] if depth else None
        path[depth:] = [name]
    return tree


def test_the_drawn_tree_is_the_tree() -> None:
    parents = {
        name: next(base.__name__ for base in value.__bases__ if base.__name__ in CLASSES)
        if value is not errors.AuthsvcError
        else None
        for name, value in CLASSES.items()
    }
    assert drawn() == parents


def test_everything_is_exported_and_described() -> None:
    assert set(errors.__all__) == set(CLASSES)
    assert all(value.__doc__ for value in CLASSES.values())


@pytest.mark.parametrize(
    ("error", "builtin"),
    [(errors.InvalidName("x"), ValueError), (errors.DeadlineExceeded("x"), TimeoutError)],
)
def test_some_are_builtin_errors_too(error: Exception, builtin: type[Exception]) -> None:
    assert isinstance(error, builtin)


def test_the_reason_of_a_refused_proof_stays_inside() -> None:
    error = errors.InvalidProof("the nonce was 42")
    assert error.reason == "the nonce was 42"
    assert "42" not in str(error)
    assert str(error) == str(errors.InvalidToken("other"))


def test_claims_carry_every_issue() -> None:
    assert errors.InvalidClaims("x", ["a", "b"]).issues == ("a", "b")
    assert errors.ClaimsTooLarge("x").issues == ()


def test_a_problem_document_is_read() -> None:
    problem: dict[str, object] = {
        "type": "urn:authsvc:problem:key-revoked",
        "detail": "Log in anew.",
    }
    error = errors.ApiError(409, problem, retry_after=1.5)
    assert (error.slug, error.status, error.retry_after) == ("key-revoked", 409, 1.5)
    assert "Log in anew." in str(error)
    assert errors.ApiError(500, {}).slug == ""


def test_a_remote_error_shows_some_of_the_answer() -> None:
    error = errors.RemoteError(404, b"no such thing" + b"x" * 1000)
    assert error.status == 404
    assert "no such thing" in str(error)
    assert len(str(error)) < 300
    assert errors.RemoteError(500, b"\xff").content == b"\xff"
