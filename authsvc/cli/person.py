"""Who a command is, for those that call a user's own routes: a kept login, a token, or SyftBox's.

with_person(identity, lambda api, jwt: api.apps(jwt))
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from authsvc.cli import loop

if TYPE_CHECKING:
    from authsvc.cli.rpc_credentials import Identity
    from authsvc.client import Api

__all__ = ["with_person"]

_Answer = TypeVar("_Answer")
_MOMENT_SECONDS = 60


def with_person(identity: Identity, deed: Callable[[Api, str], Awaitable[_Answer]]) -> _Answer:
    """Do something as a user.

    Args:
        identity: The options that say who.
        deed: Gets the HTTP API and the user's JWT.

    Raises:
        NotAuthenticated: Nobody is logged in, or no more.
        PermissionDenied: The user is disabled.
        Unavailable: The service can't be reached.
    """
    arguments = identity.arguments()
    return loop.run(_as(arguments, deed))


async def _as(arguments: dict[str, Any], deed: Callable[[Api, str], Awaitable[_Answer]]) -> _Answer:
    if "token" in arguments:
        return await _by_token(arguments, deed)
    if "source" in arguments:
        source = arguments["source"]
    else:
        from authsvc.rpc import syftbox  # noqa: PLC0415 - slow to import

        source = syftbox.source(key=arguments.get("key"))
    try:
        login = await source.obtain(None)
        return await deed(source.api, login.jwt)
    finally:
        await source.close()


async def _by_token(
    arguments: dict[str, Any], deed: Callable[[Api, str], Awaitable[_Answer]]
) -> _Answer:
    from authsvc.cli.login_session import refused  # noqa: PLC0415
    from authsvc.client import Api  # noqa: PLC0415
    from authsvc.errors import ApiError, InvalidInput, NotAuthenticated  # noqa: PLC0415
    from authsvc.nkey import KeyPair, Prefix  # noqa: PLC0415

    found, path = arguments["token"], arguments["key"]
    try:
        seed = path.read_text("ascii").strip() if path else None
        key = KeyPair.from_seed(seed, Prefix.USER) if seed else KeyPair.generate(Prefix.USER)
    except (OSError, ValueError):
        raise NotAuthenticated(f"{path} holds no nkey (SU...)") from None
    async with Api(arguments["url"], key=key) as api:
        try:
            credential = await api.login(
                found() if callable(found) else found,
                method=arguments["method"],
                # A key that nobody keeps needs to live for this command only.
                ttl=None if path else _MOMENT_SECONDS,
            )
        except ApiError as error:
            raise refused(error) from None
        except InvalidInput as error:
            raise NotAuthenticated(str(error)) from None
        return await deed(api, credential.jwt)
