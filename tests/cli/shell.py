"""Commands as processes of their own, against a service that runs."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any, NamedTuple

from tests.fixtures import forks
from tests.fixtures.authsvc import LiveService


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


async def authsvc(*arguments: str, env: dict[str, str], stdin: bytes = b"") -> Ran:
    """Run a command in this environment, and none of authsvc's variables around it."""
    plain = {name: value for name, value in os.environ.items() if "AUTHSVC" not in name}
    process = await asyncio.create_subprocess_exec(
        *forks.authsvc(),
        *arguments,
        env={**plain, **env},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(stdin)
    assert process.returncode is not None
    return Ran(process.returncode, out.decode(), err.decode())


class Shell:
    """Runs ``authsvc`` with an API key for the service in its environment."""

    def __init__(self, service: LiveService, api_key: str) -> None:
        self.service = service
        self.env = {"AUTHSVC_URL": service.url, "AUTHSVC_API_KEY": api_key, "NO_COLOR": "1"}

    async def __call__(self, *arguments: str, stdin: bytes = b"", **env: str) -> Ran:
        return await authsvc(*arguments, env={**self.env, **env}, stdin=stdin)

    async def ok(self, *arguments: str) -> Ran:
        """The same, with exit code 0."""
        ran = await self(*arguments)
        assert ran.code == 0, (arguments, ran)
        return ran
