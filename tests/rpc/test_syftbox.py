"""SyftBox's refresh token, where its server gives out a new one with each exchange."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from authsvc.rpc import NotAuthenticated
from authsvc.rpc._keys import load_key
from authsvc.rpc.syftbox import source
from tests.rpc.test_credentials import access_token, config, credential
from tests.test_client import Answer, serving


async def test_nats_is_where_the_service_says_or_else_beside_syftbox(tmp_path: Path) -> None:
    servers = ["nats://n:4222"]
    env = {"HOME": str(tmp_path), "SYFTBOX_ACCESS_TOKEN": "a.b.c"}

    def answer(*_: object) -> Answer:
        return credential(load_key(tmp_path / ".syftbox" / "authsvc.nk"), servers=servers)

    with serving(answer) as server:
        config(tmp_path, server_url="https://syftbox.example")
        syft = source(environment=env | {"SYFTBOX_AUTHSVC_URL": server.url})
        assert (await syft.obtain(None)).servers == ("nats://n:4222",)
        servers = []
        assert (await syft.obtain(None)).servers == ("tls://syftbox.example:4222",)
        await syft.close()


async def test_a_refresh_token_that_changes_is_followed(tmp_path: Path) -> None:
    good = "the-refresh-token"
    key_path = tmp_path / ".syftbox" / "authsvc.nk"

    def answer(_: int, handler: Any) -> Answer:
        nonlocal good
        if handler.path != "/auth/refresh":
            return credential(load_key(key_path))
        if json.loads(handler.server.seen[-1][3])["refreshToken"] != good:
            return 401, {}, b"{}"
        good += "+"
        # Ends soon, so that each login asks for the next.
        tokens = {"accessToken": access_token(0), "refreshToken": good}
        return 200, {}, json.dumps(tokens).encode()

    with serving(answer) as server:
        config(tmp_path, server_url=server.url)
        syft = source(environment={"HOME": str(tmp_path), "SYFTBOX_AUTHSVC_URL": server.url})
        await syft.obtain(None)
        await syft.obtain(None)
        assert good == "the-refresh-token++"
        # SyftBox's own client exchanged it and wrote the next one into its file.
        good = "from the file"
        with pytest.raises(NotAuthenticated):
            await syft.obtain(None)
        config(tmp_path, server_url=server.url, refresh_token=good)
        await syft.obtain(None)
        assert good == "from the file+"
        await syft.close()
