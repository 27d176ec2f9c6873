"""What every login method keeps to, over HTTP, at the real service."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable

import pytest

from authsvc.nkey import KeyPair, Prefix
from tests.fixtures.authsvc import StartService
from tests.fixtures.oidc import NewProvider
from tests.server.login.proofs import (
    Case,
    DeviceCase,
    EnrolmentCase,
    OidcCase,
    SyftboxProbeCase,
    SyftboxSecretCase,
    WhoamiCase,
    up,
)
from tests.server.login.tokens import HOSTILE_NAMES

# What a method proves rests on no kind of database; enrolment and device have tests of both.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture(params=["secret", "probe", "whoami", "oidc", "enrolment", "device"])
async def case(
    request: pytest.FixtureRequest, start_service: StartService, new_provider: NewProvider
) -> AsyncIterator[Case]:
    made: Case
    if request.param == "oidc":
        made = OidcCase(await new_provider())
    else:
        kinds: dict[str, Callable[[], Case]] = {
            "secret": SyftboxSecretCase,
            "probe": SyftboxProbeCase,
            "whoami": WhoamiCase,
            "enrolment": EnrolmentCase,
            "device": DeviceCase,
        }
        made = kinds[request.param]()
    async with up(made):
        made.service = await start_service(**made.settings())
        yield made


def new_key() -> KeyPair:
    return KeyPair.generate(Prefix.USER)


async def test_a_login_method(case: Case, caplog: pytest.LogCaptureFixture) -> None:
    await what_is_good(case)
    await what_is_bad(case)
    await hostile_names(case)
    if case.remote:
        await a_server_that_is_down(case)
    assert "Traceback" not in caplog.text


async def what_is_good(case: Case) -> None:
    service, key = case.service, new_key()
    token = await case.good(" Alice@Example.com ", key)
    answer = await service.login("a", key, token=token, method=case.method)
    assert answer.status_code == 201, answer.text
    assert answer.json()["username"] == "alice@example.com"
    me = await service.call("GET", "/v1/me", "DPoP", answer.json()["jwt"], key)
    assert me.json()["username"] == "alice@example.com"
    # By itself where it is the usual method or shows what it is; and for whom the client expects.
    key = new_key()
    token = await case.good("bob@example.com", key)
    wrong = await service.login("b", key, token=token, username="alice@example.com")
    assert wrong.status_code in {401, 403}
    answer = await service.login("b", key, token=token, username="Bob@example.com")
    assert (answer.status_code, answer.json()["username"]) == (201, "bob@example.com")
    told = (await service.http.get("/.well-known/authsvc")).json()["login_methods"]
    (described,) = [method for method in told if method["name"] == case.method]
    assert described == service.running.methods[case.method].describe()
    credential = (await service.admin("GET", "/v1/admin/credentials")).json()["items"][0]
    assert credential["method"] == case.method
    unnamed = "service" if not case.proves_emails else None
    if unnamed:
        key = new_key()
        token = await case.good(unnamed, key)
        assert (await service.login("s", key, token=token)).status_code == 201
    unknown = await service.login("x", token=token, method="nothing")
    assert (unknown.status_code, token in unknown.text) == (422, False)


async def what_is_bad(case: Case) -> None:
    service, key = case.service, new_key()
    other = secrets.token_urlsafe(32)
    found = {"nothing much": "x", "dots": "..", "random": other, "long": "a" * 8000}
    found |= case.bad() | await case.spoil("carol@example.com", key)
    accepted = {}
    for name, token in found.items():
        answer = await service.login("c", key, token=token, method=case.method)
        document = answer.json()
        alike = (document.get("type"), document.get("detail")) == (
            "urn:authsvc:problem:unauthenticated",
            "The request could not be authenticated.",
        )
        if answer.status_code != 401 or not alike or "www-authenticate" not in answer.headers:
            accepted[name] = answer.text
    assert accepted == {}
    # And whoever is refused leaves nothing.
    users = (await service.admin("GET", "/v1/admin/users?search=carol")).json()["items"]
    assert users == []


async def hostile_names(case: Case) -> None:
    service = case.service
    names = [*HOSTILE_NAMES, *(["no-at-sign", ""] if case.signed else [])]
    for name in names:
        key = new_key()
        try:
            token = await case.good(name, key)
        except (AssertionError, ValueError):
            continue  # nobody can be given such a name in the first place
        answer = await service.login("h", key, token=token, method=case.method)
        assert answer.status_code == 422, (name, answer.text)
        assert answer.json()["type"] == "urn:authsvc:problem:invalid-name"


async def a_server_that_is_down(case: Case) -> None:
    service, key = case.service, new_key()
    method = service.running.methods[case.method]
    provider = getattr(method, "provider", None)
    if provider is not None:  # nothing is known of it any more
        provider._keys, provider._ready = [], {}
        provider._fetched_at = provider._tried_at = float("-inf")
    await case.set_down(down=True)
    token = await case.good("dora@example.com", key)
    for _ in range(2):
        answer = await service.login("d", key, token=token, method=case.method)
        assert answer.status_code == 503, answer.text
        assert answer.json()["type"] == "urn:authsvc:problem:login-unavailable"
        assert int(answer.headers["retry-after"]) > 0
        assert token not in answer.text
    await case.set_down(down=False)
    if provider is not None:
        provider._tried_at = float("-inf")
    answer = await service.login("d", key, token=token, method=case.method)
    assert answer.status_code == 201, answer.text
