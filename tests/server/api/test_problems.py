"""The table of problems is complete, and nothing unexpected leaks."""

from __future__ import annotations

import inspect

import httpx
from fastapi import FastAPI

from authsvc import errors
from authsvc.server.api import problems
from authsvc.server.api.middleware import Edge

# What the service itself never raises to an HTTP client.
ELSEWHERE = (errors.StartRefused, errors.ApiError, errors.RpcError)


def test_every_error_has_a_problem() -> None:
    for _, kind in inspect.getmembers(errors, inspect.isclass):
        if not issubclass(kind, errors.AuthsvcError) or kind is errors.AuthsvcError:
            continue
        if not issubclass(kind, ELSEWHERE):
            assert any(base in problems.PROBLEMS for base in kind.__mro__), kind


def test_slugs_are_unique() -> None:
    slugs = [problem.slug for problem in problems.PROBLEMS.values()]
    assert len(slugs) == len(set(slugs))


async def test_the_unexpected_is_opaque() -> None:
    app = FastAPI()
    problems.install(app)
    app.add_middleware(Edge)

    @app.get("/")
    async def broken() -> None:
        raise RuntimeError("the secret is hunter2")

    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        answer = await client.get("/")
    assert answer.status_code == 500
    assert "hunter2" not in answer.text
    assert answer.json()["type"] == "urn:authsvc:problem:internal"
    assert answer.headers["content-type"] == "application/problem+json"


async def test_what_is_unavailable_says_no_more() -> None:
    app = FastAPI()
    problems.install(app)

    @app.get("/")
    async def broken() -> None:
        raise errors.StoreUnavailable("postgresql://user:hunter2@host is down")

    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        answer = await client.get("/")
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert "hunter2" not in answer.text
