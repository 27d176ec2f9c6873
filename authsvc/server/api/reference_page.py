"""``/docs``: the OpenAPI document as a page, with no script and nothing from elsewhere.

It stands at the origin of the console, whose session a script from elsewhere could use.
"""

from __future__ import annotations

import base64
import hashlib
import shlex
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.responses import HTMLResponse

__all__ = ["router"]

router = APIRouter(include_in_schema=False)
Schema = dict[str, Any]

_FOLDER = Path(__file__).parent / "pages"
_STYLE = (_FOLDER / "reference.css").read_text(encoding="utf-8")
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; "
    "img-src data:; form-action 'none'; frame-ancestors 'none'; base-uri 'none'",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}
_CREDENTIALS = {
    "identity": "Authorization: Bearer <identity token>, DPoP: <proof>",
    "credential": "Authorization: DPoP <NATS user JWT>, DPoP: <proof>",
    "api_key": "Authorization: Bearer <API key>",
}


@router.get("/docs")
async def reference(request: Request) -> HTMLResponse:
    """The page; made once."""
    state = request.app.state
    if not hasattr(state, "reference_page"):
        state.reference_page = _page(request.app.openapi(), state.running.public_url)
    return HTMLResponse(state.reference_page, headers=_HEADERS)


def _page(document: Schema, url: str) -> str:
    shapes = document["components"]["schemas"]
    tags = [
        {**tag, "routes": [_route(*it, url, shapes) for it in _tagged(document, tag["name"])]}
        for tag in document["tags"]
    ]
    pages = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters["prose"] = _prose
    return pages.get_template("reference.html").render(
        style=Markup(_STYLE),  # noqa: S704 - a file of ours
        info=document["info"],
        tags=[tag for tag in tags if tag["routes"]],
        shapes={_title(name): _fields(shapes[name], shapes) for name in sorted(shapes, key=_title)},
        about={_title(name): shapes[name].get("description", "") for name in shapes},
    )


def _tagged(document: Schema, tag: str) -> list[tuple[str, str, Schema]]:
    return [
        (method.upper(), path, route)
        for path, methods in document["paths"].items()
        for method, route in methods.items()
        if tag in route.get("tags", ())
    ]


def _route(method: str, path: str, route: Schema, url: str, shapes: Schema) -> Schema:
    schemes = [name for it in route.get("security", ()) for name in it]
    bodies: dict[str, Schema] = route.get("requestBody", {}).get("content", {})
    kind = next(iter(bodies), "")
    body: Schema = bodies[kind].get("schema", {}) if kind else {}
    return {
        "id": route["operationId"],
        "method": method,
        "path": path,
        "about": route.get("description", ""),
        "authorization": " or ".join(_CREDENTIALS[name] for name in schemes) or "none",
        "scope": route.get("x-scope"),
        "parameters": route.get("parameters", ()),
        "kind": partial(_kind),
        "body": kind,
        "fields": _fields(_resolved(body, shapes), shapes),
        "answers": sorted(route["responses"].items()),
        "curl": _curl(method, url + path, kind) if "api_key" in schemes or not schemes else "",
        "schemes": schemes,
    }


def _curl(method: str, url: str, kind: str) -> str:
    words = ["curl"] if method == "GET" else ["curl", "-X", method]
    if kind:
        words += ["-H", f"Content-Type: {kind}", "-d", "@body"]
    return shlex.join([*words, url])


def _resolved(schema: Schema, shapes: Schema) -> Schema:
    while "$ref" in schema:
        schema = shapes[schema["$ref"].rpartition("/")[2]]
    return schema


def _fields(schema: Schema, shapes: Schema) -> list[Schema]:
    needed = set(schema.get("required", ()))
    return [
        {
            "name": name,
            "kind": _kind(field),
            "needed": name in needed,
            "about": field.get("description") or _resolved(field, shapes).get("description", ""),
        }
        for name, field in schema.get("properties", {}).items()
    ]


def _kind(schema: Schema) -> Markup:
    """A schema in a few words, with links to shapes."""
    if "$ref" in schema:
        name = _title(schema["$ref"].rpartition("/")[2])
        return Markup('<a href="#shape-{0}">{0}</a>').format(name)
    if "anyOf" in schema:
        return Markup(" or ").join(_kind(it) for it in schema["anyOf"])
    if values := schema.get("enum") or ([schema["const"]] if "const" in schema else []):
        return Markup(" | ").join(Markup("<code>{}</code>").format(value) for value in values)
    kind = str(schema.get("type", "anything"))
    if kind == "array":
        return Markup("list of {}").format(_kind(schema.get("items", {})))
    low, high = schema.get("minimum"), schema.get("maximum")
    bounds = f", {int(low)} to {int(high)}" if low is not None and high is not None else ""
    return escape("time" if schema.get("format") == "date-time" else kind + bounds)


def _title(name: str) -> str:
    """A name that is unique and short, though Python's modules may have been put before it."""
    parts = name.split("__")
    return parts[-1] if len(parts) == 1 else f"{parts[-2].title().replace('_', '')}{parts[-1]}"


def _prose(text: str) -> Markup:
    """A docstring: what stands between double backquotes is code."""
    parts = text.replace("\n\n", "\n").split("``")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else escape(part)
        for number, part in enumerate(parts)
    )
