"""What an administrator does on a day: in a real browser, with a real NATS client at the end."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import expect

from authsvc.claims import parse_creds
from tests.fixtures.authsvc import LiveService
from tests.server.api.admin.live import connected
from tests.server.console.browsing import Visitor

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


async def test_a_credential_from_its_making_to_its_end(
    service: LiveService, visitor: Visitor
) -> None:
    page = visitor.page
    await page.goto(await visitor.link())
    await page.get_by_role("heading", name="Overview").wait_for()
    assert "once_" not in page.url
    await expect(page.get_by_text("Nobody is connected")).to_be_visible()

    await page.get_by_role("link", name="Users").click()
    await page.get_by_role("button", name="New user").click()
    await page.get_by_label("Username").fill("alice@example.com")
    await page.get_by_role("button", name="Create").click()
    await page.get_by_role("heading", name="alice@example.com").wait_for()
    await expect(page.get_by_role("status")).to_contain_text("The user is there.")

    await page.get_by_role("button", name="Issue", exact=True).click()
    await page.get_by_label("Name (optional)").fill("laptop")
    await page.get_by_role("dialog").get_by_role("button", name="Issue").click()
    creds = parse_creds(await page.get_by_label("The .creds file", exact=True).inner_text())
    await page.get_by_role("link", name="Back to alice@example.com").click()

    async with connected(service, creds.jwt, creds.key) as connection:
        online = page.get_by_role("region", name="Connections")
        await expect(online.get_by_text("online")).to_be_visible()
        await expect(online.get_by_role("link", name="laptop")).to_be_visible()
        await visitor.open()
        await expect(page.get_by_role("link", name="alice@example.com").first).to_be_visible()

        await visitor.open("/credentials?user=alice@example.com")
        await page.get_by_role("link", name="laptop").click()
        await expect(page.get_by_text("Online: 1 connection")).to_be_visible()
        await page.get_by_role("button", name="Revoke").click()
        await expect(page.get_by_role("dialog")).to_contain_text("dead for ever")
        await page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
        assert "revoked" in await connection.cut_by()
    await expect(page.get_by_text("Every nats-server refuses it")).to_be_visible()
    await expect(page.get_by_text("Offline: no connection")).to_be_visible()

    await visitor.open("/explain")
    await page.get_by_label("Can").fill("alice@example.com")
    await page.get_by_label("the subject").fill("requests.alice@example%2Ecom.bob.chat")
    await page.get_by_role("button", name="Explain").click()
    await expect(page.get_by_role("heading", name="Yes")).to_be_visible()
    await expect(page.get_by_text("everybody's own list")).to_be_visible()
    await page.get_by_label("the subject").fill("requests.bob.alice.chat")
    await page.get_by_role("button", name="Explain").click()
    await expect(page.get_by_role("heading", name="No", exact=True)).to_be_visible()

    await visitor.open("/audit?action=credential.revoke")
    await expect(page.locator("main tbody tr")).to_have_count(1)
    await expect(page.locator("main tbody")).to_contain_text("alice@example.com")
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_text("You are signed out.")).to_be_visible()
    await visitor.open("/users")
    await expect(page).to_have_url(re.compile("/console/sign-in$"))
    assert visitor.complaints == []
    assert visitor.elsewhere == []


async def test_what_is_refused_is_said_in_the_dialog_and_nothing_typed_is_lost(
    service: LiveService, visitor: Visitor
) -> None:
    page = visitor.page
    await visitor.sign_in()
    await visitor.open("/users")
    await page.get_by_role("button", name="New user").click()
    await page.get_by_label("Username").fill("no address")
    await page.get_by_role("button", name="Create").click()
    await expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("U+0020")
    assert await page.get_by_label("Username").input_value() == "no address"
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_have_count(0)
    assert visitor.complaints == []


async def test_a_rotation_step_by_step(service: LiveService, visitor: Visitor) -> None:
    page = visitor.page
    await visitor.sign_in()
    await visitor.open("/keys")
    await page.get_by_role("link", name="Rotate people").click()
    for name in ("Prepare a key", "Let it sign"):
        await page.get_by_role("button", name=name).click()
        await page.locator("dialog[open] button[type=submit]").click()
        await page.locator("dialog[open]").wait_for(state="hidden")
    await expect(page.get_by_role("status")).to_contain_text("The new key signs.")
    await page.get_by_role("button", name="Retire now").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_role("button", name="Retire").click()
    await expect(dialog.get_by_role("alert")).to_contain_text("the overlap lasts")
    await dialog.get_by_label("Cut them off").check()
    await dialog.get_by_role("button", name="Retire").click()
    await expect(page.get_by_role("status")).to_contain_text("trusted no more")
    keys = (await service.admin("GET", "/v1/admin/keys")).json()["items"]
    states = [it["state"] for it in keys if (it["account"], it["purpose"]) == ("people", "signing")]
    assert states == ["retired", "active"]
    assert visitor.complaints == []


async def test_api_keys_enrolment_keys_and_grants(service: LiveService, visitor: Visitor) -> None:
    page = visitor.page
    await visitor.sign_in()
    await visitor.open("/api-keys")
    await page.get_by_role("button", name="New API key").click()
    await page.get_by_label("What is it for?").fill("ci")
    await page.get_by_role("button", name="Create").click()
    text = await page.locator("#made-key").inner_text()
    assert (await service.admin("GET", "/v1/admin/users", key=text)).status_code == 200
    await page.get_by_role("link", name="Done").click()
    row = page.get_by_role("row", name="ci")
    await row.get_by_role("button", name="Revoke").click()
    await page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    await expect(row).to_contain_text("revoked")
    assert (await service.admin("GET", "/v1/admin/users", key=text)).status_code == 401

    await visitor.open("/enrolment-keys")
    await page.get_by_role("button", name="New enrolment key").click()
    await page.get_by_label("Username or pattern").fill("station-7")
    await page.get_by_role("button", name="Create").click()
    assert len(await page.locator("#made-key").inner_text()) > 20
    await page.get_by_role("link", name="Done").click()
    row = page.get_by_role("row", name="station-7")
    await row.get_by_role("button", name="Revoke").click()
    await page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    await expect(row).to_contain_text("revoked")

    await visitor.open("/grants")
    await page.get_by_role("button", name="New grant").click()
    await page.get_by_label("all who have a role").check()
    await page.get_by_label("Username or role").fill("sensors")
    await page.get_by_label("May publish to").fill("weather.>\nnews.>")
    await page.get_by_role("button", name="Create").click()
    row = page.get_by_role("row", name="sensors")
    await expect(row).to_contain_text("weather.> news.>")
    await row.get_by_role("button", name="Take away").click()
    await page.get_by_role("dialog").get_by_role("button", name="Take away").click()
    await expect(page.get_by_text("No grants")).to_be_visible()
    assert visitor.complaints == []
