"""One ``Settings``, read from the environment once and handed down as values.

    settings = load()                      # AUTHSVC_PORT=8081, AUTHSVC_MASTER_KEY_FILE=/run/key
    settings = load(port=0, data_dir=tmp)  # what the command line or a test says goes first

Every variable is a field's name in capitals with ``AUTHSVC_`` before it. A secret can also come
from a file: ``AUTHSVC_<NAME>_FILE`` holds the path.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from authsvc.errors import StartRefused
from authsvc.server.data_dir import default_data_dir
from authsvc.server.setting_values import (
    Algorithms,
    Issuer,
    NatsUrls,
    Networks,
    OptionalPath,
    OptionalSecret,
    OptionalText,
    OptionalUrl,
    Usernames,
    WebUrls,
    is_loopback,
)

__all__ = ["FOR_COMMANDS", "FROM_FILE", "PREFIX", "Settings", "load", "unknown_variables"]

PREFIX = "AUTHSVC_"
FROM_FILE = (
    "master_key",
    "master_key_previous",
    "database_url",
    "syftbox_access_token_secret",
    "oidc_client_secret",
)
"""Fields that are or may hold a secret, and so can come from ``AUTHSVC_<NAME>_FILE`` too."""

FOR_COMMANDS = (
    "url",
    "api_key",
    "api_key_file",
    "backup_passphrase",
    "backup_passphrase_file",
    "context",
    "token",
    "token_file",
    "otp_code",
)
"""What the commands that call a service read, and the service does not."""

MIN_SECRET_BYTES = 32
"""RFC 7518 section 3.2: an HS256 key has at least the size of the hash."""

_LONGEST_SECONDS = 10 * 365 * 86400

_log = logging.getLogger(__name__)


class _SecretFiles(PydanticBaseSettingsSource):
    """``AUTHSVC_<NAME>_FILE``: the secret is the file's text without its line end."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        variable = f"{PREFIX}{field_name.upper()}"
        path = os.environ.get(f"{variable}_FILE")
        if field_name not in FROM_FILE or not path:
            return None, field_name, False
        if os.environ.get(variable):
            raise StartRefused(f"{variable} and {variable}_FILE are both set: remove one of them")
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise StartRefused(f"{variable}_FILE: {path} can't be read: {why}") from None
        secret = text.rstrip("\r\n")
        if not secret:
            raise StartRefused(f"{variable}_FILE: {path} is empty")
        return secret, field_name, False

    def __call__(self) -> dict[str, Any]:
        found = {
            name: self.get_field_value(field, name)[0]
            for name, field in self.settings_cls.model_fields.items()
        }
        return {name: value for name, value in found.items() if value is not None}


class Settings(BaseSettings):
    """What the service is told from outside; section 4 of the contract."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        # docker-compose can't leave a variable out: an empty one means the same as none.
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    data_dir: Path = Field(default_factory=default_data_dir)
    """Where keys, the SQLite database and nats-server's files are."""
    database_url: str = Field(default="", repr=False)
    """SQLite or PostgreSQL; ``authsvc.db`` in the data directory unless given."""
    host: str = Field(default="127.0.0.1", min_length=1)
    """The address the API listens on; beyond loopback, dev login does not work."""
    port: int = Field(default=8080, ge=0, le=65535)
    """0: any free one."""
    tls_cert: OptionalPath = None
    """Certificate chain, PEM: with it and ``tls_key`` the API speaks TLS alone."""
    tls_key: OptionalPath = None
    """Its private key, PEM."""
    trusted_proxies: Networks = []
    """Addresses and networks whose ``X-Forwarded-For`` is believed."""
    public_url: OptionalUrl = None
    """Under which clients reach the service; ``http://host:port`` unless given."""
    extra_origins: WebUrls = []
    """Further origins that DPoP proofs may name."""
    master_key: OptionalSecret = None
    """32 bytes in base64 or hex; a file in the data directory unless given."""
    master_key_previous: OptionalSecret = None
    """The former one, while the master key is being changed."""
    nats_urls: NatsUrls = []
    """What clients are told."""
    nats_internal_urls: NatsUrls = []
    """What the service itself connects to; ``nats_urls`` unless given."""
    nats_ca: OptionalPath = None
    """Who signs the certificates of ``nats_internal_urls``, PEM; the system's authorities unless
    given."""
    nats_server: OptionalText = None
    """Path of a nats-server to run in place of the packaged one."""
    account_name: str = Field(default="people", min_length=1, max_length=128)
    """What the people's account is called, for eyes."""
    credential_ttl: int = Field(default=3600, ge=1, le=_LONGEST_SECONDS)
    """Seconds that a JWT lives."""
    renew_grace: int = Field(default=300, ge=0, le=_LONGEST_SECONDS)
    """Seconds after its expiry in which a credential can still be renewed."""
    max_session: int = Field(default=86400, ge=1, le=_LONGEST_SECONDS)
    """Seconds from the login after which a credential can't be renewed."""
    user_max_subscriptions: int = Field(default=1000, ge=1)
    """Subscriptions of one connection, in the JWT."""
    user_max_connections: int = Field(default=20, ge=1)
    """Of one user at once, over all nats-servers; what is newer is closed. Auth callout lets ten
    times as many in during the life of a JWT."""
    max_payload: int = Field(default=8 * 1024 * 1024, ge=1024, le=64 * 1024 * 1024)
    """Bytes of one message."""
    mailbox_replicas: int = Field(default=1, ge=1, le=5)
    """Of each stream, in a cluster of as many nats-servers."""
    mailbox_max_bytes: int = Field(default=16 * 1024 * 1024, ge=1024)
    """Bytes of each of a mailbox's two streams; nats-server sets them aside on its disk."""
    mailbox_max_count: int = Field(default=10_000, ge=0)
    """Mailboxes of all users."""
    user_max_apps: int = Field(default=100, ge=1, le=900)
    """Apps of one user; nats-server gives a stream no more than 1,000 consumers."""
    dev_login: bool = False
    """E-mail only, no proof; for a loopback bind alone."""
    auto_create_users: bool = True
    """Whether a first login creates its user; otherwise an unknown one gets 403."""
    callout: bool = False
    """Whether clients may log in to nats-server itself, with an identity token as password."""
    login_failures: int = Field(default=5, ge=1)
    """Failed logins of one identity from one address in 15 minutes."""
    login_rate: int = Field(default=60, ge=1)
    """Tries to sign in from one address in a minute."""
    audit_retention_days: int = Field(default=0, ge=0, le=36500)
    """Days after which sealed audit events are dropped; 0: never."""
    syftbox_url: OptionalUrl = None
    """A SyftBox server to ask about each token."""
    syftbox_access_token_secret: OptionalSecret = None
    """The SyftBox server's secret, shared: then no request leaves."""
    syftbox_issuer: OptionalText = None
    """The ``iss`` that SyftBox tokens must have."""
    syftbox_legacy_url: OptionalUrl = None
    """A SyftBox server of the releases in Python, which is asked who somebody is."""
    oidc_issuer: Issuer = None
    """An OIDC provider, as its tokens name it, to the letter."""
    oidc_audience: OptionalText = None
    """What ``aud`` of its tokens has to name."""
    oidc_username_claim: str = Field(default="email", min_length=1)
    """Which claim of its tokens is the username."""
    oidc_algorithms: Algorithms = ["RS256", "ES256", "EdDSA"]
    """What ``alg`` of its tokens may be."""
    oidc_client_id: OptionalText = None
    """As whom this service lets people sign in there; ``oidc_audience`` unless given."""
    oidc_client_secret: OptionalSecret = None
    """Where that client has one."""
    oidc_keys_count: int = Field(default=86400, ge=60, le=30 * 86400)
    """Seconds for which its last keys count while it can't be reached."""
    console_admins: Usernames = []
    """Who may sign in to the admin console by OIDC, with all rights."""
    device_login: bool | None = None
    """Whether terminals may ask to be let in by somebody; unless given: where there is OIDC."""
    log_format: Literal["auto", "console", "json"] = "auto"
    """``auto``: console on a terminal, else JSON."""
    log_max_bytes: int = Field(default=16777216, ge=65536, le=1 << 40)
    """Of a log file of ``up``, its nats-server's too; then the next begins. Four are kept."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the environment, then the files it names."""
        return init_settings, env_settings, _SecretFiles(settings_cls)

    def model_post_init(self, _context: object, /) -> None:
        """Fill what is derived from other settings."""
        object.__setattr__(self, "data_dir", self.data_dir.expanduser().absolute())
        if not self.database_url:
            path = self.data_dir / "authsvc.db"
            object.__setattr__(self, "database_url", f"sqlite+aiosqlite:///{path}")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise StartRefused(f"TLS needs both {PREFIX}TLS_CERT and {PREFIX}TLS_KEY, or neither")

    @property
    def scheme(self) -> str:
        """``https`` where the API speaks TLS by itself, else ``http``."""
        return "https" if self.tls_cert else "http"

    @property
    def loopback(self) -> bool:
        """Whether only programs on this machine can reach the service."""
        return is_loopback(self.host)

    def concerns(self, environ: Mapping[str, str] = os.environ) -> list[str]:
        """What is allowed, and should be looked at: one sentence each."""
        found = [f"{name} is no setting and is ignored" for name in unknown_variables(environ)]
        secret = self.syftbox_access_token_secret
        if secret and len(secret.get_secret_value().encode()) < MIN_SECRET_BYTES:
            found.append(
                f"{PREFIX}SYFTBOX_ACCESS_TOKEN_SECRET has less than {MIN_SECRET_BYTES} bytes: who "
                "has one token can guess it and be anybody; give the SyftBox server a longer one"
            )
        if self.host in {"0.0.0.0", "::"} and not self.public_url:  # noqa: S104
            found.append(
                f"{PREFIX}PUBLIC_URL is not set, and {self.host} is no address that clients call: "
                "proofs for the URL that they do call are refused; set it to that URL"
            )
        if self.tls_cert and (self.public_url or "").startswith("http://"):
            found.append(
                f"{PREFIX}PUBLIC_URL is http://, but the API speaks TLS alone: nobody reaches it "
                "by that URL unless a proxy in front offers it; set it to an https:// URL"
            )
        url = urlsplit(self.syftbox_url or "")
        if url.scheme == "http" and not is_loopback(url.hostname or ""):
            found.append(f"{PREFIX}SYFTBOX_URL is not https: tokens travel there unencrypted")
        return found


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Variables that begin with ``AUTHSVC_`` and are no setting, most likely misspelt."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    known |= {f"{PREFIX}{name.upper()}_FILE" for name in FROM_FILE}
    known |= {PREFIX + name.upper() for name in FOR_COMMANDS}
    return sorted(name for name in environ if name.startswith(PREFIX) and name.upper() not in known)


def load(**values: Any) -> Settings:
    """Read the settings and log a warning for each concern.

    Args:
        values: Settings that go before the environment's.

    Raises:
        StartRefused: A value can't be used; the message names each and never shows it.
    """
    try:
        settings = Settings(**values)
    except ValidationError as error:
        lines = [
            f"{PREFIX}{'.'.join(map(str, item['loc'])).upper()}: {item['msg']}"
            for item in error.errors(include_input=False, include_url=False)
        ]
        raise StartRefused("\n".join(["settings that can't be used:", *lines])) from None
    for concern in settings.concerns():
        _log.warning(concern)
    return settings
