"""Letting a terminal in by somebody with a browser: device authorization (RFC 8628) as calls.

    async with Api(url, key=key) as api:
        flow = DeviceFlow(api, client="alice's laptop")
        asked = await flow.ask()
        print(f"go to {asked.verification_uri} and enter {asked.user_code}")
        credential = await api.login(await flow.wait(), method="device")

The codes are for the nkey of ``api`` alone.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

from authsvc.client import Api
from authsvc.errors import ApiError, Forbidden, InvalidInput, Unavailable

__all__ = ["DeviceAsked", "DeviceFlow"]

_GRANT_TYPE = "urn:ietf:params:oauth:grant-type:device_code"
_SLOWER_SECONDS = 5
_UNKNOWN_SECONDS = 600
_EXPIRED = {"error": "expired_token", "error_description": "the code has expired; ask again"}


@dataclass(frozen=True, slots=True)
class DeviceAsked:
    """What to show to the person; times in seconds."""

    user_code: str
    verification_uri: str
    verification_uri_complete: str
    """The same with the code in it, for a QR code."""
    expires_in: int
    interval: int
    device_code: str = field(repr=False)


class DeviceFlow:
    """One terminal that asks to be let in.

    Args:
        api: The service, with the terminal's nkey.
        client: What the terminal calls itself; the person who decides reads it.
    """

    def __init__(self, api: Api, client: str = "") -> None:
        self._api = api
        self._client = client
        self._asked: DeviceAsked | None = None
        self._interval = 0
        self._ends = 0.0

    async def ask(self) -> DeviceAsked:
        """Ask, and learn what the person has to be shown.

        Raises:
            ApiError: The service refused; 404 where device authorization is off.
            Unavailable: It can't be reached, or too many terminals wait.
        """
        form = {"client_name": self._client} if self._client else {}
        status, answer = await self._api.post_form("/v1/device/authorize", form)
        if status != 200:  # noqa: PLR2004
            raise _refusal(status, answer)
        try:
            self._asked = asked = DeviceAsked(
                user_code=str(answer["user_code"]),
                verification_uri=str(answer["verification_uri"]),
                verification_uri_complete=str(
                    answer.get("verification_uri_complete", answer["verification_uri"])
                ),
                expires_in=int(answer.get("expires_in", _UNKNOWN_SECONDS)),
                interval=int(answer.get("interval", _SLOWER_SECONDS)),
                device_code=str(answer["device_code"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ApiError(502, {"detail": "that is no answer to a terminal"}) from error
        self._interval = asked.interval
        self._ends = time.monotonic() + asked.expires_in
        return asked

    async def poll(self) -> str | None:
        """The token for ``Api.login(token, method="device")``, or None while nobody has decided.

        Wait ``interval`` seconds before each call.

        Raises:
            InvalidInput: Nothing was asked yet.
            Forbidden: The person refused.
            ApiError: The code has expired (``slug`` expired-token), or something else was refused.
            Unavailable: It can't be reached.
        """
        if self._asked is None:
            raise InvalidInput("ask first")
        form = {"grant_type": _GRANT_TYPE, "device_code": self._asked.device_code}
        status, answer = await self._api.post_form("/v1/device/token", form)
        token, error = answer.get("access_token"), answer.get("error")
        if status == 200 and isinstance(token, str):  # noqa: PLR2004
            return token
        if error == "slow_down":
            self._interval += _SLOWER_SECONDS
        if error in {"authorization_pending", "slow_down"}:
            return None
        if error == "access_denied":
            raise Forbidden("this terminal was refused")
        raise _refusal(status, answer)

    @property
    def interval(self) -> int:
        """Seconds to wait before the next poll."""
        return self._interval

    async def wait(self) -> str:
        """Poll until somebody has decided: the token.

        A service that can't be reached in between is asked again.

        Raises:
            Forbidden: The person refused.
            ApiError: The code has expired (``slug`` expired-token), or something else was refused.
        """
        if self._asked is None:
            await self.ask()
        while True:
            await asyncio.sleep(self._interval)
            try:
                token = await self.poll()
            except Unavailable:
                token = None
            if token is not None:
                return token
            if time.monotonic() >= self._ends:
                raise _refusal(400, _EXPIRED)


def _refusal(status: int, answer: dict[str, Any]) -> ApiError:
    """OAuth's error as one of ours; a problem document stays as it is."""
    if "error" not in answer:
        return ApiError(status, answer)
    problem = {
        "type": f"urn:authsvc:problem:{str(answer['error']).replace('_', '-')}",
        "detail": answer.get("error_description", ""),
    }
    return ApiError(status, problem)
