"""SyftBox's configuration as a source of credentials, and its ``syft://`` URLs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from authsvc.rpc._session.credentials import ServiceSource
from authsvc.rpc._session.keys import KeyTypes, load_key
from authsvc.rpc._syftbox.config import Config, load_config
from authsvc.rpc._syftbox.tokens import Tokens
from authsvc.rpc._syftbox.url import SyftUrl

__all__ = ["Config", "SyftUrl", "load_config", "source"]


def source(
    *,
    key: KeyTypes = None,
    servers: Sequence[str] = (),
    name: str | None = None,
    environment: Mapping[str, str] | None = None,
    path: str | os.PathLike[str] | None = None,
) -> ServiceSource:
    """A credential source from SyftBox's configuration.

    Where that has no token, because the SyftBox server is one for development on this machine,
    the e-mail alone is the login, by authsvc's method ``dev``.

    Args:
        key: As for the client; a file of our own beside SyftBox's configuration if None.
        servers: NATS URLs, before those of the environment.
        name: What the credential is called in lists; the app's id if SyftBox's client started
            this program.
        environment: The variables; the process's own if None.
        path: SyftBox's file; where the environment says, or SyftBox puts it, if None.

    Raises:
        NotAuthenticated: There is no such configuration.
    """
    config = load_config(environment, path=path)
    tokens = config.access_token or config.refresh_token
    return ServiceSource(
        config.authsvc_url,
        Tokens(config).access if tokens else config.email,
        # SyftBox drops keys it does not know when it rewrites its file, so not in there.
        load_key(config.key_path if key is None else key),
        method=None if tokens else "dev",
        name=name or config.app_id,
        servers=servers or config.nats_urls,
        fallback=config.nats_fallback,
    )
