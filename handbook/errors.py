"""The page of errors: every exception and every problem, each with what to do next."""

from __future__ import annotations

import inspect

from authsvc import errors
from authsvc.server.api import problems
from authsvc.server.api.middleware import Edge  # noqa: F401 - it knows a problem of its own
from handbook.advice import EXCEPTIONS, PROBLEMS
from handbook.tables import plain, table

__all__ = ["STATUSES", "page"]

_HEAD = """# Errors

Everything that authsvc raises or answers on purpose, with what to do about it. A problem's `type`
is `urn:authsvc:problem:<slug>` (RFC 9457); `detail` says what happened in this very case. Messages
never hold a secret, and what somebody else's code raised is never in an answer.

"""

_EXCEPTIONS = """## Exceptions

All are in `authsvc.errors`; those below `RpcError` also in `authsvc.rpc`.

"""


def _problems() -> dict[str, problems.Problem]:
    """All problems by slug, those that no exception stands behind too."""
    found = {problem.slug: problem for problem in problems.PROBLEMS.values()}
    for problem in [*problems._HTTP.values(), problems._OPAQUE]:  # noqa: SLF001 - only listed
        found.setdefault(problem.slug, problem)
    return dict(sorted(found.items(), key=lambda it: (it[1].status, it[0])))


STATUSES = {str(problem.status) for problem in _problems().values()}
"""Statuses with problems; each is a heading of the page."""


def _exceptions() -> list[type[errors.AuthsvcError]]:
    """All exceptions, each after the one that it belongs to."""

    def below(kind: type[errors.AuthsvcError]) -> list[type[errors.AuthsvcError]]:
        return [kind, *(it for child in kind.__subclasses__() for it in below(child))]

    found = [it for it in below(errors.AuthsvcError) if it.__module__ == errors.__name__]
    return list(dict.fromkeys(found))


def page() -> str:
    """The page.

    Raises:
        LookupError: There is no advice for one, or advice for what there is not.
    """
    kinds, known = _exceptions(), _problems()
    _same({kind.__name__ for kind in kinds}, set(EXCEPTIONS), "EXCEPTIONS")
    _same(set(known), set(PROBLEMS), "PROBLEMS")
    text = _HEAD + "## Problems\n\n"
    for status in sorted(STATUSES):
        text += f"### {status}\n\n"
        text += table(
            ["problem", "what happened", "what to do"],
            [
                [f"`{slug}`", problem.title, PROBLEMS[slug]]
                for slug, problem in known.items()
                if problem.status == int(status)
            ],
        )
        text += "\n"
    rows = [
        [
            f"`{kind.__name__}`",
            f"`{kind.__base__.__name__}`",
            _said(kind),
            EXCEPTIONS[kind.__name__],
        ]
        for kind in kinds
        if kind.__base__ is not None
    ]
    return text + _EXCEPTIONS + table(["exception", "is a", "when", "what to do"], rows)


def _said(kind: type[Exception]) -> str:
    return plain(inspect.getdoc(kind) or "").partition(" Args:")[0]


def _same(there: set[str], advised: set[str], name: str) -> None:
    if missing := there - advised:
        raise LookupError(f"handbook/advice.py: {name} lacks {', '.join(sorted(missing))}")
    if gone := advised - there:
        raise LookupError(f"handbook/advice.py: {name} has {', '.join(sorted(gone))}, now unknown")
