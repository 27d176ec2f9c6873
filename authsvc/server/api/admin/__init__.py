"""``/v1/admin``: what administrators do, each route behind a scope of an API key."""

from authsvc.server.api.admin import (
    api_keys,
    audit,
    connections,
    console_links,
    credentials,
    devices,
    enrolment_keys,
    explain,
    grants,
    imports,
    keys,
    mailboxes,
    nats,
    roles,
    users,
)

__all__ = ["BODY_BOUNDS", "ROUTERS"]

BODY_BOUNDS = imports.BODY_BOUNDS

ROUTERS = tuple(
    module.router
    for module in (
        api_keys,
        audit,
        connections,
        console_links,
        credentials,
        devices,
        enrolment_keys,
        explain,
        grants,
        imports,
        keys,
        mailboxes,
        nats,
        roles,
        users,
    )
)
