"""What is looked at, in which order: what lies here, then the service, by its API."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from authsvc.cli.context import Context, find_context
from authsvc.cli.doctor import files, keys, servers, service, store
from authsvc.cli.doctor.finding import Finding, fail, guarded, warn
from authsvc.errors import AuthsvcError, StartRefused, Unavailable
from authsvc.server.settings import Settings, load

__all__ = ["examine"]


def examine(data_dir: Path | None) -> list[Finding]:
    """Look at everything that can be reached from here.

    Args:
        data_dir: Of `authsvc up`; the environment says what is meant if None.
    """
    if data_dir is None and os.environ.get("AUTHSVC_URL"):
        return _service(find_context(None))
    try:
        settings = load(**({"data_dir": data_dir} if data_dir else {}))
    except StartRefused as error:
        return [fail("settings", str(error), "change the settings it names")]
    found = store.settings_findings(settings)
    own_server = not settings.nats_internal_urls and not settings.nats_urls
    if own_server:
        found += store.binary_findings(settings)
    if not settings.data_dir.is_dir():
        here = shlex.quote(str(settings.data_dir))
        told = f"there is no data directory {here}"
        return [*found, fail("files", told, f"authsvc up --data-dir {here}")]
    found += files.data_dir_findings(settings.data_dir) + store.store_findings(settings)
    return found + _started(settings)


def _started(settings: Settings) -> list[Finding]:
    """The service that the data directory's context names."""
    here = f" --data-dir {shlex.quote(str(settings.data_dir))}"
    try:
        context = find_context(settings.data_dir)
    except Unavailable:
        told = "no `authsvc up` ran here yet"
        return [
            warn("service", told, f"authsvc up{here}"),
            *files.lock_findings(settings.data_dir, answers=None),
        ]
    except AuthsvcError as error:
        return [fail("service", str(error), f"authsvc up{here}")]
    found = _service(context, f"authsvc up{here}")
    answers = not any(it.check == "service" and "does not answer" in it.detail for it in found)
    return files.lock_findings(settings.data_dir, answers=answers) + found


def _service(context: Context, start: str = "authsvc up") -> list[Finding]:
    # httpx tries to import its own command line, which takes longer than all the rest of it.
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
    from authsvc.admin_client import AdminApi  # noqa: PLC0415

    found, document = service.service_findings(context.url)
    if document is None:
        return [
            Finding(it.check, it.state, it.detail, start if it.mend == "authsvc up" else it.mend)
            for it in found
        ]
    found += service.login_findings(document)
    with AdminApi(context.url, context.api_key) as api:
        status: dict[str, Any] = {}

        def look() -> list[Finding]:
            status.update(api.get("/v1/admin/nats/status"))
            return servers.server_findings(status)

        found += guarded("nats-server", look)
        accounts: list[Mapping[str, Any]] = status.get("accounts", [])
        found += keys.expiry_findings(context.url, accounts)
        found += guarded("keys", lambda: keys.key_findings(api.pages("/v1/admin/keys")))
        found += guarded("API keys", lambda: keys.api_key_findings(api.pages("/v1/admin/api-keys")))
    return found
