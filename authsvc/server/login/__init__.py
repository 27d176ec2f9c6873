"""Login methods: each turns a token into an Identity, or refuses.

methods = methods_from(settings)
identity = await methods["syftbox"].verify(token, time.time())
"""

from __future__ import annotations

import logging

from authsvc.server.login.dev import DevLogin
from authsvc.server.login.identity import Identity, LoginMethod
from authsvc.server.login.syftbox import SyftboxProbe, SyftboxSecret
from authsvc.server.login.token import UnverifiedToken
from authsvc.server.settings import Settings

__all__ = [
    "DevLogin",
    "Identity",
    "LoginMethod",
    "SyftboxProbe",
    "SyftboxSecret",
    "UnverifiedToken",
    "methods_from",
]

_log = logging.getLogger(__name__)


def methods_from(settings: Settings) -> dict[str, LoginMethod]:
    """The login methods that are configured, by name; the first is the usual one.

    With both the SyftBox secret and its server's URL set, the secret decides.

    Raises:
        StartRefused: Dev login where others could reach the service.
    """
    methods: list[LoginMethod] = []
    secret = settings.syftbox_access_token_secret
    if secret is not None:
        methods.append(
            SyftboxSecret(secret.get_secret_value(), settings.syftbox_issuer, settings.syftbox_url)
        )
    elif settings.syftbox_url is not None:
        methods.append(SyftboxProbe(settings.syftbox_url, settings.syftbox_issuer))
    if settings.dev_login:
        methods.append(DevLogin(loopback=settings.loopback))
        _log.warning("dev login is on: anybody who reaches this service can be anyone")
    return {method.name: method for method in methods}
