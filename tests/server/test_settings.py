from __future__ import annotations

import logging
from pathlib import Path

import pytest

from authsvc.errors import StartRefused
from authsvc.server.settings import Settings, load

CONTRACT = [
    "DATA_DIR",
    "DATABASE_URL",
    "HOST",
    "PORT",
    "PUBLIC_URL",
    "MASTER_KEY",
    "NATS_URLS",
    "NATS_INTERNAL_URLS",
    "ACCOUNT_NAME",
    "EXTRA_ORIGINS",
    "CREDENTIAL_TTL",
    "RENEW_GRACE",
    "MAX_SESSION",
    "USER_MAX_SUBSCRIPTIONS",
    "USER_MAX_CONNECTIONS",
    "MAX_PAYLOAD",
    "MAILBOX_REPLICAS",
    "MAILBOX_MAX_BYTES",
    "DEV_LOGIN",
    "AUTO_CREATE_USERS",
    "LOGIN_FAILURES",
    "LOGIN_RATE",
    "SYFTBOX_URL",
    "SYFTBOX_ACCESS_TOKEN_SECRET",
    "SYFTBOX_ISSUER",
    "OIDC_ISSUER",
    "OIDC_AUDIENCE",
    "OIDC_USERNAME_CLAIM",
    "LOG_FORMAT",
]


def test_every_setting_of_the_contract_is_there() -> None:
    assert [name for name in CONTRACT if name.lower() not in Settings.model_fields] == []


def test_the_contract_s_defaults(tmp_path: Path) -> None:
    settings = load(data_dir=tmp_path)
    assert settings.database_url == f"sqlite+aiosqlite:///{tmp_path}/authsvc.db"
    assert (settings.credential_ttl, settings.renew_grace, settings.max_session) == (
        *(3600, 300, 86400),
    )
    assert (settings.user_max_subscriptions, settings.user_max_connections) == (1000, 20)
    assert (settings.max_payload, settings.mailbox_replicas) == (8388608, 1)
    assert (settings.auto_create_users, settings.dev_login) == (True, False)
    assert settings.login_failures == 5
    assert (settings.host, settings.port, settings.loopback) == ("127.0.0.1", 8080, True)


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {
        "DATA_DIR": str(tmp_path),
        "PORT": "9000",
        "NATS_URLS": "nats://a:4222, wss://b ,",
        "EXTRA_ORIGINS": "https://a.example/,https://b.example:8443",
        "AUTO_CREATE_USERS": "false",
        "SYFTBOX_URL": "",
        "MASTER_KEY": "",
        "PUBLIC_URL": "https://auth.example/",
    }.items():
        monkeypatch.setenv(f"AUTHSVC_{name}", value)
    settings = load(port=9001)
    assert settings.port == 9001
    assert settings.nats_urls == ["nats://a:4222", "wss://b"]
    assert settings.extra_origins == ["https://a.example", "https://b.example:8443"]
    assert settings.auto_create_users is False
    assert settings.syftbox_url is None
    assert settings.master_key is None
    assert settings.public_url == "https://auth.example"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "70000"),
        ("CREDENTIAL_TTL", "0"),
        ("USER_MAX_SUBSCRIPTIONS", "-1"),
        ("NATS_URLS", "http://a"),
        ("NATS_URLS", "nats://a:port"),
        ("PUBLIC_URL", "auth.example"),
        ("PUBLIC_URL", "https://me:pw@auth.example"),
        ("EXTRA_ORIGINS", "https://a,nonsense"),
        ("LOG_FORMAT", "xml"),
        ("DEV_LOGIN", "perhaps"),
    ],
)
def test_what_can_not_be_used_is_named_and_not_shown(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"AUTHSVC_{name}", value)
    with pytest.raises(StartRefused, match=f"AUTHSVC_{name}") as caught:
        load()
    assert "me:pw" not in str(caught.value)


@pytest.mark.parametrize("name", ["MASTER_KEY", "DATABASE_URL", "SYFTBOX_ACCESS_TOKEN_SECRET"])
def test_secrets_come_from_files_too(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "secret"
    path.write_text("s3cret with space \r\n")
    monkeypatch.setenv(f"AUTHSVC_{name}_FILE", str(path))
    settings = load()
    found = getattr(settings, name.lower())
    assert (found if isinstance(found, str) else found.get_secret_value()) == "s3cret with space "
    assert "s3cret" not in repr(settings)
    assert "s3cret" not in str(settings)
    monkeypatch.setenv(f"AUTHSVC_{name}", "x")
    with pytest.raises(StartRefused, match="both set"):
        load()


def test_a_secret_file_that_is_not_there_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AUTHSVC_MASTER_KEY_FILE", str(tmp_path / "none"))
    with pytest.raises(StartRefused, match=r"AUTHSVC_MASTER_KEY_FILE: .*No such file"):
        load()
    (tmp_path / "none").write_bytes(b"\xff\xff")
    with pytest.raises(StartRefused, match="not UTF-8"):
        load()
    (tmp_path / "none").write_bytes(b"\n")
    with pytest.raises(StartRefused, match="is empty"):
        load()


@pytest.mark.parametrize("name", ["HOST", "CREDENTIAL_TTL", "LOG_FORMAT", "NATS_URLS"])
def test_an_empty_variable_is_none(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = getattr(load(), name.lower())
    monkeypatch.setenv(f"AUTHSVC_{name}", "")
    assert getattr(load(), name.lower()) == usual


def test_concerns_are_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AUTHSVC_PROT", "1")
    with caplog.at_level(logging.WARNING):
        load(syftbox_access_token_secret="sh0rt", syftbox_url="http://syftbox.example")
    logged = caplog.text
    assert "AUTHSVC_PROT is no setting" in logged
    assert "less than 32 bytes" in logged
    assert "is not https" in logged
    assert "sh0rt" not in logged
    caplog.clear()
    monkeypatch.delenv("AUTHSVC_PROT")
    load(syftbox_access_token_secret="x" * 32, syftbox_url="http://127.0.0.1:1")
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("localhost", True), ("::1", True), ("127.9.9.9", True), ("0.0.0.0", False), ("a.b", False)],  # noqa: S104
)
def test_loopback(host: str, loopback: bool) -> None:  # noqa: FBT001
    assert load(host=host).loopback is loopback


def test_a_public_url_is_asked_for_where_the_address_is_none(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for host in ("0.0.0.0", "::"):  # noqa: S104
        with caplog.at_level(logging.WARNING):
            load(host=host, public_url="https://auth.example")
        assert caplog.text == ""
        with caplog.at_level(logging.WARNING):
            load(host=host)
        assert "PUBLIC_URL is not set" in caplog.text
        caplog.clear()
