"""The table of problems is complete, and nothing unexpected leaks."""

from __future__ import annotations

import inspect

import httpx
import pytest
from fastapi import FastAPI

from authsvc import errors
from authsvc.server.api import problems
from authsvc.server.api.middleware import Edge
from tests.fixtures.authsvc import LiveService

# What the service itself never raises to an HTTP client.
ELSEWHERE = (errors.StartRefused, errors.ApiError, errors.RpcError)


@pytest.fixture(scope="module")
def shared_database_url(shared_sqlite_url: str) -> str:
    """One kind: what is asked here is HTTP."""
    return shared_sqlite_url


@pytest.fixture
def service(emptied_service: LiveService) -> LiveService:
    """One for the module, emptied for each test."""
    return emptied_service


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

    # The transport raises what leaves the application, as an HTTP server would log it.
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        answer = await client.get("/")
    assert answer.status_code == 500
    assert answer.headers["x-request-id"]
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


async def test_a_host_that_is_no_host_changes_no_problem(service: LiveService) -> None:
    for host in ("[", "evil.example/other?x="):
        answer = await service.http.get("/nothing", headers={"Host": host})
        assert answer.status_code == 404
        assert answer.json()["instance"] == "/nothing"


async def test_a_405_names_all_methods_of_the_path(service: LiveService) -> None:
    answer = await service.http.put("/v1/credentials")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, POST"
    answer = await service.http.get("/v1/credentials/crd_x")
    assert answer.headers["allow"] == "DELETE"


async def test_nothing_redirects_to_the_host_that_was_claimed(service: LiveService) -> None:
    for path in ("/v1/me/", "/v1/credentials/", "/jwt/v1/accounts"):
        answer = await service.http.get(path, headers={"Host": "evil.example"})
        assert answer.status_code == 404
        assert "location" not in answer.headers
