"""Signing in by somebody with a browser: the terminal shows a code and waits (RFC 8628)."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from authsvc.cli.login_session import refused
from authsvc.cli.show import visible
from authsvc.client import Api
from authsvc.device_client import DeviceFlow
from authsvc.errors import ApiError, NotAuthenticated, StartRefused
from authsvc.nkey import KeyPair, Prefix

if TYPE_CHECKING:
    from authsvc.credential import Credential

__all__ = ["METHOD", "let_in"]

METHOD = "device"
_NOT_FOUND = 404


async def let_in(
    url: str, *, name: str, ttl: int | None, app: str | None
) -> tuple[Credential, KeyPair]:
    """Ask, show the code on standard error, and wait until somebody has decided.

    Args:
        url: Where authsvc is.
        name: What this terminal calls itself, and the credential is called in lists.
        ttl: Seconds, for a shorter life.
        app: Narrow it to this app.

    Raises:
        Forbidden: The person refused.
        NotAuthenticated: The code has expired, or the service refuses.
        StartRefused: The service lets no terminals in.
        Unavailable: It can't be reached.
    """
    key = KeyPair.generate(Prefix.USER)
    async with Api(url, key=key) as api:
        flow = DeviceFlow(api, client=name)
        try:
            asked = await flow.ask()
        except ApiError as error:
            if error.status == _NOT_FOUND:
                raise StartRefused(
                    "this authsvc lets no terminals in: it needs OIDC, or AUTHSVC_DEVICE_LOGIN"
                ) from None
            raise refused(error) from None
        told = f"go to {visible(asked.verification_uri)} and enter {visible(asked.user_code)}"
        print(f"{told}   (within {asked.expires_in // 60} minutes)", file=sys.stderr, flush=True)
        try:
            token = await flow.wait()
            return await api.login(token, method=METHOD, name=name, ttl=ttl, app=app), key
        except ApiError as error:
            if error.slug == "expired-token":
                raise NotAuthenticated("nobody entered the code in time; ask again") from None
            raise refused(error) from None
