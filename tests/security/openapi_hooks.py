"""What schemathesis has to know of this service: proofs of possession, and JSON lines.

Loaded by ``SCHEMATHESIS_HOOKS``, in a process of its own; whose keys, stands in the environment.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from typing import Any
from urllib.parse import urlsplit

import requests
import schemathesis

from authsvc import dpop
from authsvc.nkey import KeyPair

URL = os.environ["FUZZ_URL"]
API_KEY, JWT, TOKEN = (os.environ[name] for name in ("FUZZ_API_KEY", "FUZZ_JWT", "FUZZ_TOKEN"))
KEY = KeyPair.from_seed(os.environ["FUZZ_SEED"])


@schemathesis.serializer("application/x-ndjson")
def lines(_context: Any, value: Any) -> bytes:
    """One line, or several."""
    items = value if isinstance(value, list) else [value]
    return b"".join(json.dumps(item).encode("utf-8", "replace") + b"\n" for item in items)


@schemathesis.deserializer("application/x-ndjson")
def results(_context: Any, response: Any) -> Any:
    """The result of the first line stands for all."""
    return json.loads(response.text.splitlines()[0])


@schemathesis.hook
def before_call(_context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Let the request come from somebody who may, unless the case is about who may not."""
    security = case.operation.definition.raw.get("security") or []
    schemes = {name for each in security for name in each}
    by_proof = any(
        parameter.get("name") == "DPoP"
        for parameter in case.operation.definition.raw.get("parameters", [])
    )
    token = None
    if "api_key" in schemes:
        case.headers["Authorization"] = f"Bearer {API_KEY}"
    elif "credential" in schemes:
        token = JWT
        case.headers["Authorization"] = f"DPoP {JWT}"
    elif "identity" in schemes:
        token = TOKEN
        case.headers["Authorization"] = f"Bearer {TOKEN}"
    if by_proof:
        sent = case.as_transport_kwargs(base_url=URL)
        prepared = requests.Request(sent["method"], sent["url"]).prepare()
        url = f"{URL}{urlsplit(str(prepared.url)).path}"
        case.headers["DPoP"] = dpop.make(
            KEY, case.method.upper(), url, token=token, now=time.time(), jti=secrets.token_hex(16)
        )
