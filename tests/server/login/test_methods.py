from __future__ import annotations

import ast
import dataclasses
import logging
from pathlib import Path

import pytest

import authsvc
from authsvc.errors import InvalidName, InvalidToken, StartRefused
from authsvc.server.database import Database
from authsvc.server.login import (
    DeviceLogin,
    DevLogin,
    EnrolmentLogin,
    Identity,
    SyftboxProbe,
    SyftboxSecret,
    UnverifiedToken,
    method_for,
    methods_from,
)
from authsvc.server.settings import load
from tests.server.login.tokens import NOW, REFUSED_NAMES, SECRET, token


async def test_dev_login_believes_any_e_mail() -> None:
    method = DevLogin(loopback=True)
    identity = await method.verify("Bob@Example.com", NOW)
    assert (identity.username, identity.method) == ("bob@example.com", "dev")
    assert identity.expires_at is None
    assert method.describe() == {"name": "dev"}
    await method.close()


@pytest.mark.parametrize("name", REFUSED_NAMES)
async def test_dev_login_refuses_what_the_contract_refuses(name: str) -> None:
    with pytest.raises(InvalidName):
        await DevLogin(loopback=True).verify(name, NOW)


async def test_dev_login_refuses_what_is_far_too_long() -> None:
    with pytest.raises(InvalidToken):
        await DevLogin(loopback=True).verify("a" * 100_000, NOW)


def test_dev_login_is_for_loopback_alone() -> None:
    with pytest.raises(StartRefused, match="AUTHSVC_DEV_LOGIN"):
        methods_from(load(dev_login=True, host="0.0.0.0"))  # noqa: S104


def test_dev_login_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert list(methods_from(load(dev_login=True))) == ["dev"]
    assert "anybody who reaches this service can be anyone" in caplog.text


async def test_methods_follow_the_settings() -> None:
    assert methods_from(load()) == {}
    url = "https://syftbox.example"
    probe = methods_from(load(syftbox_url=url))["syftbox"]
    assert isinstance(probe, SyftboxProbe)
    await probe.close()
    both = methods_from(
        load(syftbox_url=url, syftbox_access_token_secret=SECRET.ljust(32), dev_login=True)
    )
    assert list(both) == ["syftbox", "dev"]
    assert isinstance(both["syftbox"], SyftboxSecret)
    assert both["syftbox"].describe() == {"name": "syftbox", "url": url}
    await both["syftbox"].close()


def test_half_of_oidc_is_refused() -> None:
    for given in ({"oidc_issuer": "https://a.example"}, {"oidc_audience": "a"}):
        with pytest.raises(StartRefused, match="belong together"):
            methods_from(load(**given))


@pytest.mark.parametrize(
    "given",
    [
        {"oidc_issuer": "http://accounts.example.com"},
        {"oidc_issuer": "https://user:pass@accounts.example.com"},
        {"oidc_issuer": "https://accounts.example.com?x=1"},
        {"oidc_issuer": "https://accounts.example.com#x"},
        {"oidc_issuer": "ftp://accounts.example.com"},
        {"oidc_issuer": "accounts.example.com"},
        {"oidc_algorithms": "HS256"},
        {"oidc_algorithms": "RS256,none"},
        {"oidc_algorithms": ""},
        {"oidc_username_claim": ""},
    ],
)
def test_settings_of_oidc_that_are_refused(given: dict[str, str]) -> None:
    with pytest.raises(StartRefused, match="AUTHSVC_OIDC"):
        load(**given)


def test_an_issuer_is_kept_to_the_letter() -> None:
    for issuer in ("https://tenant.example.com/", "http://127.0.0.1:5556/dex", "http://[::1]:1"):
        assert load(oidc_issuer=issuer).oidc_issuer == issuer


async def test_tokens_that_the_service_made_show_what_they_are_for(database: Database) -> None:
    methods = methods_from(
        load(dev_login=True, device_login=True), database, "https://auth.example"
    )
    assert list(methods) == ["dev", "enrolment", "device"]
    for token_, name in (
        ("alice@example.com", "dev"),
        ("authsvc_enrol_x", "enrolment"),
        ("authsvc_device_x", "device"),
    ):
        found = method_for(methods, token_)
        assert found is not None
        assert found.name == name
    assert method_for(methods, "x", "none") is None
    assert method_for(methods_from(load(), database), "x") is None
    assert [type(method) for method in methods.values()] == [DevLogin, EnrolmentLogin, DeviceLogin]


def test_nobody_makes_an_identity_by_hand() -> None:
    with pytest.raises(TypeError, match="login method"):
        Identity("alice@example.com", True, "syftbox", None)  # noqa: FBT003


async def test_an_identity_can_not_be_changed() -> None:
    identity = await DevLogin(loopback=True).verify("bob@example.com", NOW)
    with pytest.raises(dataclasses.FrozenInstanceError):
        identity.username = "alice@example.com"  # type: ignore[misc]
    with pytest.raises((TypeError, ValueError)):
        dataclasses.replace(identity, username="alice@example.com")


def test_only_login_methods_prove() -> None:
    root = Path(authsvc.__file__).parent
    users = {
        str(path.relative_to(root))
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and "proved" in {alias.name for alias in node.names}
    }
    names = ("dev", "device", "enrolment", "oidc", "syftbox_probe", "syftbox_secret", "whoami")
    assert users == {f"server/login/{name}.py" for name in names}


def test_an_unverified_token_does_not_show_itself() -> None:
    unverified = UnverifiedToken.parse(token(), NOW)
    assert unverified.text not in repr(unverified)
    assert unverified.subject not in repr(unverified)
