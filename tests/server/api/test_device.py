"""Terminals that ask to be let in (RFC 8628), and the people and administrators who decide."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from sqlalchemy import select, update
from sqlmodel import col

from authsvc.client import Api
from authsvc.device_client import DeviceFlow
from authsvc.errors import ApiError, Forbidden
from authsvc.nkey import KeyPair, Prefix
from authsvc.server import devices
from authsvc.server.models import AuditEvent, DeviceRequest
from tests.fixtures.authsvc import LiveService, StartService, empty, live_service
from tests.fixtures.oidc import CLIENT, CLIENT_SECRET, NewProvider, OidcProvider
from tests.fixtures.waiting import until

PAGE = Path(__file__).parents[3] / "docs" / "sign-in.md"
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
shared_on_sqlite = pytest.mark.parametrize("shared_database_url", ["sqlite"], indirect=True)
GRANT_TYPE = "urn:ietf:params:oauth:grant-type:device_code"


@pytest.fixture(scope="module")
async def with_terminals(
    shared_database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[LiveService]:
    data_dir = tmp_path_factory.mktemp("terminals") / "data"
    async with live_service(data_dir, shared_database_url, device_login=True) as found:
        yield found


@pytest.fixture
async def terminals(with_terminals: LiveService) -> LiveService:
    """A service that lets terminals in: one for the module, emptied for each test."""
    await empty(with_terminals)
    return with_terminals


class Terminal:
    """A terminal by hand, as any OAuth library would be one."""

    def __init__(self, service: LiveService) -> None:
        self.service = service
        self.key = KeyPair.generate(Prefix.USER)
        self.asked: dict[str, Any] = {}

    async def post(self, path: str, key: KeyPair | None = None, **form: str) -> httpx.Response:
        proof = self.service.proof(key or self.key, "POST", path, None)
        return await self.service.http.post(path, data=form, headers={"DPoP": proof})

    async def ask(self, **form: str) -> str:
        answer = await self.post("/v1/device/authorize", None, **form)
        assert answer.status_code == 200, answer.text
        self.asked = answer.json()
        return str(self.asked["user_code"])

    async def poll(self, key: KeyPair | None = None, **form: str) -> httpx.Response:
        """A poll in time: the last one is long ago."""
        async with self.service.running.database.writing() as session:
            await session.execute(update(DeviceRequest).values(polled_at=0))
        values = {"grant_type": GRANT_TYPE, "device_code": self.asked["device_code"], **form}
        return await self.post("/v1/device/token", key, **values)

    async def error(self, key: KeyPair | None = None, **form: str) -> str:
        answer = await self.poll(key, **form)
        assert answer.status_code == 400
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["cache-control"] == "no-store"
        return str(answer.json()["error"])


async def test_an_administrator_lets_a_terminal_in(terminals: LiveService) -> None:
    service, terminal = terminals, Terminal(terminals)
    told = (await service.http.get("/.well-known/authsvc")).json()["login_methods"]
    assert told[-1] == {
        "name": "device",
        "device_authorization_endpoint": f"{service.url}/v1/device/authorize",
        "token_endpoint": f"{service.url}/v1/device/token",
        "verification_uri": f"{service.url}/device",
    }
    code = await terminal.ask(client_id="ci", client_name="the\u202e laptop")
    assert re.fullmatch("[B-DF-HJ-NP-TV-XZ]{4}-[B-DF-HJ-NP-TV-XZ]{4}", code)
    assert (terminal.asked["expires_in"], terminal.asked["interval"]) == (600, 5)
    assert terminal.asked["verification_uri_complete"].endswith(f"/device?user_code={code}")
    assert await terminal.error() == "authorization_pending"
    page = await service.http.post("/device", data={"user_code": code.lower()})
    assert (page.status_code, terminal.key.public.text in page.text) == (200, True)
    assert f"authsvc device approve {code} --username" in page.text
    path = f"/v1/admin/device/{code.replace('-', '').lower()}"
    shown = (await service.admin("GET", path, "credentials:issue")).json()
    assert shown["client"] == "the laptop"
    assert (shown["public_key"], shown["state"]) == (terminal.key.public.text, "pending")
    assert (await service.admin("GET", path, "users:write")).status_code == 403
    bad = await service.admin("POST", f"{path}/approve", json={"username": "a b"})
    assert bad.status_code == 422
    approved = await service.admin("POST", f"{path}/approve", json={"username": "Alice@x.com"})
    assert (approved.status_code, approved.json()["username"]) == (200, "alice@x.com")
    for again in ("approve", "deny"):
        body = {"username": "bob@x.com"} if again == "approve" else None
        assert (await service.admin("POST", f"{path}/{again}", json=body)).status_code == 409
    # The codes are nothing in other hands, and the token neither.
    other = KeyPair.generate(Prefix.USER)
    assert await terminal.error(other) == "invalid_grant"
    first = (await terminal.poll()).json()
    second = (await terminal.poll()).json()
    assert (second["token_type"], second["expires_in"]) == ("DPoP", 300)
    assert (await service.login("x", terminal.key, token=first["access_token"])).status_code == 401
    token = second["access_token"]
    assert (await service.login("x", other, token=token)).status_code == 401
    assert (await service.login("x", terminal.key, token=token, username="b@x")).status_code == 401
    answer = await service.login("x", terminal.key, token=token, method="device")
    assert (answer.status_code, answer.json()["username"]) == (201, "alice@x.com")
    assert (await service.login("x", terminal.key, token=token)).status_code == 401
    assert await terminal.error() == "invalid_grant"
    async with service.running.database.reading() as session:
        rows = list(await session.scalars(select(AuditEvent).order_by(col(AuditEvent.seq))))
        kept = repr(list(await session.scalars(select(DeviceRequest))))
    (approval,) = [row for row in rows if row.action == "device.approve"]
    assert (approval.actor_kind, approval.target_id) == ("api_key", shown["id"])
    assert approval.details["public_key"] == terminal.key.public.text
    everything = kept + repr([row.model_dump() for row in rows])
    for secret in (token, terminal.asked["device_code"], code, code.replace("-", "")):
        assert secret not in everything


@shared_on_sqlite
async def test_a_terminal_that_is_refused(terminals: LiveService) -> None:
    terminal = Terminal(terminals)
    code = await terminal.ask()
    path = f"/v1/admin/device/{code}"
    assert (await terminals.admin("POST", f"{path}/deny")).json()["state"] == "denied"
    assert await terminal.error() == "access_denied"
    assert (await terminals.admin("POST", f"{path}/deny")).status_code == 409


async def test_polling_is_held_to_its_pace(terminals: LiveService) -> None:
    terminal = Terminal(terminals)
    await terminal.ask()
    assert await terminal.error() == "authorization_pending"
    form = {"grant_type": GRANT_TYPE, "device_code": terminal.asked["device_code"]}
    for interval in (10, 15, 20):
        answer = (await terminal.post("/v1/device/token", **form)).json()
        assert (answer["error"], answer["interval"]) == ("slow_down", interval)
    assert (await terminal.poll()).json()["interval"] == 20


async def test_codes_expire_and_are_forgotten(terminals: LiveService) -> None:
    terminal, database = Terminal(terminals), terminals.running.database
    code = await terminal.ask()
    async with database.writing() as session:
        await session.execute(update(DeviceRequest).values(expires_at=int(time.time())))
    assert await terminal.error() == "expired_token"
    assert (await terminals.admin("GET", f"/v1/admin/device/{code}")).status_code == 404
    page = await terminals.http.post("/device", data={"user_code": code})
    assert (page.status_code, "may have expired" in page.text) == (400, True)
    async with database.writing() as session:
        await devices.forget_requests(session, time.time() + 3500)
    assert await terminal.error() == "expired_token"
    async with database.writing() as session:
        await devices.forget_requests(session, time.time() + 3700)
    assert await terminal.error() == "invalid_grant"


@shared_on_sqlite
async def test_what_is_no_request(terminals: LiveService) -> None:
    service, terminal = terminals, Terminal(terminals)
    path = "/v1/device/authorize"
    proof = service.proof(terminal.key, "POST", path, None)
    for headers in (
        {},
        {"DPoP": "x"},
        {"DPoP": service.proof(terminal.key, "POST", "/v1/device/token", None)},
        {"DPoP": proof, "Authorization": "Bearer x"},
    ):
        answer = await service.http.post(path, headers=headers)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_dpop_proof")
    assert (await service.http.post(path, headers={"DPoP": proof})).status_code == 200
    answer = await service.http.post(path, headers={"DPoP": proof})
    assert answer.json()["error"] == "invalid_dpop_proof"  # used before
    await terminal.ask()
    assert await terminal.error(grant_type="password") == "unsupported_grant_type"
    assert await terminal.error(device_code="") == "invalid_request"
    assert await terminal.error(device_code="x" * 200) == "invalid_request"
    assert await terminal.error(device_code="x" * 43) == "invalid_grant"
    headers = {"content-type": "application/x-www-form-urlencoded"}
    for body in (b"device_code=1&device_code=2", b"a=%ff", b"\xff", b"&".join([b"a=b"] * 50)):
        headers["DPoP"] = service.proof(terminal.key, "POST", "/v1/device/token", None)
        answer = await service.http.post("/v1/device/token", content=body, headers=headers)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request"), body
    for code in ("", "AAAA-AAAA", "BCDF-GHJ", "%00", "x" * 500):
        assert (await service.admin("GET", f"/v1/admin/device/{code}")).status_code in {404, 405}


@shared_on_sqlite
async def test_terminals_that_wait_are_bounded(
    terminals: LiveService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "_PER_ADDRESS", 2)
    for _ in range(2):
        await Terminal(terminals).ask()
    answer = await Terminal(terminals).post("/v1/device/authorize")
    assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")


@on_sqlite
async def test_it_is_off_unless_there_is_oidc(service: LiveService) -> None:
    answer = await Terminal(service).post("/v1/device/authorize")
    assert (answer.status_code, "AUTHSVC_DEVICE_LOGIN" in answer.text) == (404, True)
    assert (await service.http.get("/device")).status_code == 404


@shared_on_sqlite
async def test_the_page_s_program(
    terminals: LiveService, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(devices, "_INTERVAL_SECONDS", 1)
    (program,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(program, "sign-in.md", "exec"), names)  # noqa: S102 - the page's own
    async with Api(terminals.url, key=KeyPair.generate(Prefix.USER)) as api:
        running = asyncio.create_task(names["log_in"](api))
        told = ""

        def asked() -> bool:
            nonlocal told
            told += capsys.readouterr().out
            return "and enter" in told

        await until(asked)
        code = re.findall(r"and enter (\S+)", told)[0]
        path = f"/v1/admin/device/{code}/approve"
        answer = await terminals.admin("POST", path, json={"username": "alice@example.com"})
        assert answer.status_code == 200
        assert await running == "alice@example.com"


class Browser:
    """Somebody's browser, at the page where terminals are let in."""

    def __init__(self, service: LiveService, provider: OidcProvider) -> None:
        self.http = httpx.AsyncClient(base_url=service.url, timeout=20)
        self.service, self.provider = service, provider
        self.callback = ""

    async def sign_in(self, code: str, who: str) -> httpx.Response:
        """Enter the code, sign in, and come back: the page with the last question."""
        page = await self.http.post("/device", data={"user_code": code})
        assert page.status_code == 200, page.text
        (link,) = re.findall(r'class="button" href="([^"]+)"', page.text)
        self.callback = await self.provider.browse(link.replace("&amp;", "&"), who)
        assert self.callback.startswith(f"{self.service.url}/device/callback?")
        return await self.http.get(self.callback, follow_redirects=True)

    async def decide(self, page: httpx.Response, choice: str) -> httpx.Response:
        (token,) = re.findall(r'name="token" value="([^"]+)"', page.text)
        return await self.http.post("/device/decide", data={"token": token, "choice": choice})


@pytest.fixture
async def provider(new_provider: NewProvider) -> OidcProvider:
    return await new_provider()


@pytest.fixture
async def oidc_service(start_service: StartService, provider: OidcProvider) -> LiveService:
    return await start_service(
        oidc_issuer=provider.issuer, oidc_audience=CLIENT, oidc_client_secret=CLIENT_SECRET
    )


@pytest.fixture
async def browsers(
    oidc_service: LiveService, provider: OidcProvider
) -> AsyncIterator[tuple[Browser, Browser]]:
    both = Browser(oidc_service, provider), Browser(oidc_service, provider)
    yield both
    for browser in both:
        await browser.http.aclose()


async def test_a_person_lets_a_terminal_in(
    oidc_service: LiveService, browsers: tuple[Browser, Browser], monkeypatch: pytest.MonkeyPatch
) -> None:
    service, (browser, _) = oidc_service, browsers
    monkeypatch.setattr(devices, "_INTERVAL_SECONDS", 1)
    async with Api(service.url, key=KeyPair.generate(Prefix.USER)) as api:
        flow = DeviceFlow(api, client="alice's laptop <b>")
        asked = await flow.ask()
        entry = await browser.http.get(asked.verification_uri_complete)
        assert f'value="{asked.user_code}"' in entry.text
        policy = entry.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert await flow.poll() is None
        page = await browser.sign_in(asked.user_code, "Alice@Example.com")
        assert "You are <strong>alice@example.com</strong>" in page.text
        assert "alice&#39;s laptop &lt;b&gt;" in page.text
        assert "code=" not in str(page.url)
        done = await browser.decide(page, "approve")
        assert (done.status_code, "is let in" in done.text) == (200, True)
        credential = await api.login(await flow.wait(), method="device")
        assert credential.username == "alice@example.com"
        with pytest.raises(ApiError) as caught:
            await flow.poll()
        assert caught.value.slug == "invalid-grant"
        flow = DeviceFlow(api)
        page = await browser.sign_in((await flow.ask()).user_code, "bob@example.com")
        assert "was refused" in (await browser.decide(page, "deny")).text
        with pytest.raises(Forbidden):
            await flow.wait()
    async with service.running.database.reading() as session:
        actions = await session.scalars(select(AuditEvent).order_by(col(AuditEvent.seq)))
        told = [(it.action, it.actor_kind, it.actor_id) for it in actions if "device" in it.action]
    assert told == [
        ("device.approve", "user", "alice@example.com"),
        ("device.deny", "user", "bob@example.com"),
    ]


@on_sqlite
async def test_nobody_decides_in_another_s_browser(
    oidc_service: LiveService, browsers: tuple[Browser, Browser]
) -> None:
    service, (mine, other) = oidc_service, browsers
    terminal = Terminal(service)
    page = await mine.sign_in(await terminal.ask(), "alice@example.com")
    (token,) = re.findall(r'name="token" value="([^"]+)"', page.text)
    form = {"token": token, "choice": "approve"}
    # Without the cookie, with another one's, from another site, with a made-up token.
    second = await other.http.post("/device", data={"user_code": await Terminal(service).ask()})
    assert second.status_code == 200
    bare = await service.http.post("/device/decide", data=form)
    crossed = await other.http.post("/device/decide", data=form)
    forged = await mine.http.post("/device/decide", data={**form, "token": "x"})
    assert [it.status_code for it in (bare, crossed, forged)] == [400, 400, 400]
    for site in (
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site", "origin": service.url},
    ):
        for path in ("/device", "/device/decide"):
            answer = await mine.http.post(path, data=form, headers=site)
            assert answer.status_code == 403, site
    # Another's sign-in can't be handed over, nor used twice.
    for browser in (other, mine):
        answer = await browser.http.get(mine.callback)
        assert (answer.status_code, "not signed in" in answer.text) == (400, True)
    query = {**parse_qs(urlsplit(mine.callback).query), "iss": ["https://evil.example"]}
    assert (await mine.http.get("/device/callback", params=query)).status_code == 400
    refused = await mine.http.get("/device/callback?error=access_denied")
    assert "not signed in" in refused.text
    assert await terminal.error() == "authorization_pending"
    # All of that has changed nothing for whose browser it is.
    own = {"origin": service.url, "sec-fetch-site": "same-origin"}
    done = await mine.http.post("/device/decide", data=form, headers=own)
    assert "is let in" in done.text
    assert (await terminal.poll()).status_code == 200
    assert (await mine.http.post("/device/decide", data=form)).status_code == 400


@on_sqlite
async def test_a_provider_that_is_down_when_somebody_decides(
    oidc_service: LiveService, browsers: tuple[Browser, Browser], provider: OidcProvider
) -> None:
    await provider.stop()
    code = await Terminal(oidc_service).ask()
    page = await browsers[0].http.post("/device", data={"user_code": code})
    assert (page.status_code, "be reached" in page.text) == (400, True)
