"""What a client might send in place of a body, to every admin route that reads one."""

from __future__ import annotations

import pytest

from tests.fixtures.authsvc import LiveService

HOSTILE = [
    b"",
    b" ",
    b"null",
    b"[]",
    b"7",
    b'"text"',
    b"{",
    b"[" * 20_000,
    b"\xff\xfe{}",
    "{}".encode("utf-16"),
    b'{"username": "a@x", "username": "b@x"}',
    b'{"name": 1e400, "account": NaN}',
    b'{"ttl": ' + b"9" * 5_000 + b"}",
    b'{"username": "\\ud800", "role": "\\u0000"}',
    b'{"nothing": "of that name"}',
]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_no_body_is_a_mistake_of_the_service(service: LiveService) -> None:
    document = (await service.http.get("/openapi.json")).json()
    key = await service.api_key("admin")
    routes = [
        (method.upper(), path, operation["requestBody"]["required"])
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if path.startswith("/v1/admin/") and "requestBody" in operation
    ]
    assert len(routes) > 8
    for method, path, required in routes:
        url = path.replace("{username}", "nobody@x").replace("{name}", "nothing")
        for content in HOSTILE:
            answer = await service.admin(method, url, key=key, content=content)
            what = (method, path, content[:40], answer.text)
            assert answer.status_code < 500, what
            if required and content == b"" and not path.endswith(":import"):
                assert answer.status_code in {404, 422}, what
            if answer.status_code >= 400:
                assert answer.headers["content-type"] == "application/problem+json", what
