"""Bodies as browsers and OAuth clients send them."""

from __future__ import annotations

from urllib.parse import parse_qsl

from fastapi import Request

from authsvc import jose
from authsvc.errors import InvalidInput
from authsvc.server.api.deps import content_of

__all__ = ["read_form"]

_MAX_FIELDS = 20


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a form, or of a JSON object of texts.

    Raises:
        InvalidInput: It is neither, or a field stands twice (RFC 6749 section 3.2).
    """
    content = await content_of(request)
    if "json" in request.headers.get("content-type", ""):
        members = jose.loads(content or b"{}")
        if not all(isinstance(value, str) for value in members.values()):
            raise InvalidInput("every member has to be a text", "body")
        return members
    try:
        pairs = parse_qsl(
            content.decode("ascii"),
            keep_blank_values=True,
            max_num_fields=_MAX_FIELDS,
            errors="strict",
        )
    except ValueError:
        raise InvalidInput("the body is no form", "body") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise InvalidInput("a field stands twice", "body")
    return fields
