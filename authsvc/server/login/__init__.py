"""Login methods: each turns a token into an Identity, or refuses.

methods = methods_from(settings)
identity = await methods["syftbox"].verify(token, time.time())
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from authsvc.errors import StartRefused
from authsvc.server.database import Database
from authsvc.server.login.claimed import claimed_identity
from authsvc.server.login.dev import DevLogin
from authsvc.server.login.device import DEVICE_PREFIX, DeviceLogin, device_digest
from authsvc.server.login.enrolment import (
    ENROLMENT_PREFIX,
    EnrolmentLogin,
    enrolment_digest,
    fits,
)
from authsvc.server.login.identity import Identity, LoginMethod, Ticket
from authsvc.server.login.oidc import OidcLogin
from authsvc.server.login.provider import Provider
from authsvc.server.login.sign_in import SignIn, derived
from authsvc.server.login.syftbox_probe import SyftboxProbe
from authsvc.server.login.syftbox_secret import SyftboxSecret
from authsvc.server.login.token import UnverifiedToken
from authsvc.server.login.whoami import LegacyWhoami
from authsvc.server.settings import Settings

__all__ = [
    "DEVICE_PREFIX",
    "ENROLMENT_PREFIX",
    "DevLogin",
    "DeviceLogin",
    "EnrolmentLogin",
    "Identity",
    "LegacyWhoami",
    "LoginMethod",
    "OidcLogin",
    "Provider",
    "SignIn",
    "SyftboxProbe",
    "SyftboxSecret",
    "Ticket",
    "UnverifiedToken",
    "claimed_identity",
    "derived",
    "device_digest",
    "enrolment_digest",
    "fits",
    "method_for",
    "methods_from",
    "sign_in_from",
]

_NAMED = {EnrolmentLogin.name: ENROLMENT_PREFIX, DeviceLogin.name: DEVICE_PREFIX}
"""Methods that are never the usual one: what is presented to them says so by its beginning."""

_log = logging.getLogger(__name__)


def methods_from(
    settings: Settings, database: Database | None = None, public_url: str = ""
) -> dict[str, LoginMethod]:
    """The login methods that are configured, by name; the first is the usual one.

    With both the SyftBox secret and its server's URL set, the secret decides.

    Args:
        settings: What is configured.
        database: For the methods whose proofs the service hands out itself.
        public_url: How clients reach the service.

    Raises:
        StartRefused: Dev login where others could reach the service, or half of what a method
            needs.
    """
    methods: list[LoginMethod] = []
    secret = settings.syftbox_access_token_secret
    if secret is not None:
        methods.append(
            SyftboxSecret(secret.get_secret_value(), settings.syftbox_issuer, settings.syftbox_url)
        )
    elif settings.syftbox_url is not None:
        methods.append(SyftboxProbe(settings.syftbox_url, settings.syftbox_issuer))
    if settings.syftbox_legacy_url is not None:
        methods.append(LegacyWhoami(settings.syftbox_legacy_url))
    oidc = _oidc(settings)
    if oidc is not None:
        methods.append(oidc)
    if settings.dev_login:
        methods.append(DevLogin(loopback=settings.loopback))
        _log.warning("dev login is on: anybody who reaches this service can be anyone")
    if database is not None:
        methods.append(EnrolmentLogin(database))
        offered = settings.device_login
        if offered or (offered is None and oidc is not None):
            methods.append(DeviceLogin(database, public_url))
    return {method.name: method for method in methods}


def _oidc(settings: Settings) -> OidcLogin | None:
    issuer, audience = settings.oidc_issuer, settings.oidc_audience
    if issuer is None and audience is None:
        return None
    if issuer is None or audience is None:
        raise StartRefused(
            "AUTHSVC_OIDC_ISSUER and AUTHSVC_OIDC_AUDIENCE belong together: set both, or neither. "
            "Without an audience a token for any other program would be good here"
        )
    return OidcLogin(
        Provider(issuer, keys_count=settings.oidc_keys_count),
        audience=audience,
        claim=settings.oidc_username_claim,
        algorithms=settings.oidc_algorithms,
        client_id=settings.oidc_client_id,
    )


def sign_in_from(settings: Settings, methods: Mapping[str, LoginMethod]) -> SignIn | None:
    """Where people sign in with a browser; None without OIDC."""
    oidc = methods.get(OidcLogin.name)
    if not isinstance(oidc, OidcLogin):
        return None
    secret = settings.oidc_client_secret
    return SignIn(oidc, secret.get_secret_value() if secret else None)


def method_for(
    methods: Mapping[str, LoginMethod], token: str, name: str | None = None
) -> LoginMethod | None:
    """The method that a token is for: the named one, the one it shows, or the usual one.

    Args:
        methods: As ``methods_from`` made them.
        token: As presented.
        name: The method that the client names, if it does.
    """
    if name is not None:
        return methods.get(name)
    for own, prefix in _NAMED.items():
        if token.startswith(prefix):
            return methods.get(own)
    return next((method for method in methods.values() if method.name not in _NAMED), None)
