"""The page of routes: from the OpenAPI document."""

from __future__ import annotations

from typing import Any

from handbook.errors import STATUSES
from handbook.tables import literal, plain, table

__all__ = ["page"]

Schema = dict[str, Any]

_HEAD = """# Routes

Every route of the service, from its OpenAPI document (`/openapi.json`; `/docs` shows it in the
browser). [The HTTP API](../http.md) and [the admin API](../admin.md) say what they mean;
[errors](errors.md) says what to do about each problem. `GET /metrics` is in [metrics](metrics.md).

"""

_AUTHORIZATION = {
    "identity": "`Authorization: Bearer <identity token>` and a `DPoP` proof",
    "credential": "`Authorization: DPoP <NATS user JWT>` and a `DPoP` proof",
    "api_key": "`Authorization: Bearer <API key>`",
}


def page(document: Schema) -> str:
    """The page."""
    text = _HEAD
    shapes = document["components"]["schemas"]
    for tag in document["tags"]:
        routes = [
            _route(method, path, route, shapes)
            for path, methods in document["paths"].items()
            for method, route in methods.items()
            if tag["name"] in route.get("tags", [])
        ]
        if routes:
            name = str(tag["name"])
            text += f"## {name[:1].upper()}{name[1:]}\n\n{tag['description']}\n\n" + "".join(routes)
    return text + _shapes(shapes)


def _route(method: str, path: str, route: Schema, shapes: Schema) -> str:
    parts = [f"### `{method.upper()} {path}`\n", _paragraphs(route.get("description", ""))]
    parts.append(f"Authorization: {_authorization(route)}.\n")
    if rows := [
        [f"`{it['name']}`", it["in"], _kind(it["schema"]), plain(it.get("description", ""))]
        for it in route.get("parameters", [])
    ]:
        parts.append(table(["parameter", "in", "takes", ""], rows))
    if body := route.get("requestBody"):
        kind, content = next(iter(body["content"].items()))
        needed = "" if body.get("required") else ", may be left out"
        parts.append(f"Body (`{kind}`{needed}):\n")
        parts.append(_fields(_resolved(content.get("schema", {}), shapes)))
    parts.append(_answers(route))
    return "\n".join(parts) + "\n"


def _authorization(route: Schema) -> str:
    kinds = [_AUTHORIZATION[name] for it in route.get("security", []) for name in it]
    scope = f" with the scope `{route['x-scope']}`" if "x-scope" in route else ""
    return (" or ".join(kinds) or "none") + scope


def _answers(route: Schema) -> str:
    rows, refused = [], []
    for status, answer in sorted(route["responses"].items()):
        content = answer.get("content", {})
        schema: Schema = next((it.get("schema", {}) for it in content.values()), {})
        if status in STATUSES and (status == "422" or "ProblemDocument" in str(content)):
            refused.append(f"[{status}](errors.md#{status})")
        elif schema:
            rows.append([status, _kind(schema)])
        else:
            rows.append([status, ", ".join(f"`{kind}`" for kind in content) or "no body"])
    text = table(["status", "answer"], rows)
    return text + (f"\nProblems: {', '.join(refused)}.\n" if refused else "")


def _paragraphs(text: str) -> str:
    return "\n\n".join(plain(part) for part in text.split("\n\n")) + "\n"


def _resolved(schema: Schema, shapes: Schema) -> Schema:
    while "$ref" in schema:
        schema = shapes[schema["$ref"].rpartition("/")[2]]
    return schema


def _fields(schema: Schema) -> str:
    needed = set(schema.get("required", []))
    rows = []
    for name, field in schema.get("properties", {}).items():
        default = "needed" if name in needed else literal(field.get("default"))
        rows.append([f"`{name}`", _kind(field), default, plain(field.get("description", ""))])
    return table(["member", "takes", "default", ""], rows)


def _kind(schema: Schema) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        name = _title(schema["$ref"].rpartition("/")[2])
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_kind(it) for it in schema["anyOf"])
    if values := schema.get("enum") or ([schema["const"]] if "const" in schema else []):
        return ", ".join(f"`{value}`" for value in values)
    kind = str(schema.get("type", "anything"))
    if kind == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    return "time" if schema.get("format") == "date-time" else kind + _bounds(schema)


def _bounds(schema: Schema) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f", {int(low)} to {int(high)}"
    return f", at most {schema['maxLength']} characters" if "maxLength" in schema else ""


def _title(name: str) -> str:
    """A name that is unique and short, though Python's modules may have been put before it."""
    parts = name.split("__")
    return parts[-1] if len(parts) == 1 else f"{parts[-2].title().replace('_', '')}{parts[-1]}"


def _shapes(shapes: Schema) -> str:
    text = "## Shapes\n\nWhat is answered, member by member.\n\n"
    for name, schema in sorted(shapes.items(), key=lambda it: _title(it[0])):
        text += f"### {_title(name)}\n\n{_paragraphs(schema.get('description', ''))}\n"
        if "properties" in schema:
            rows = [
                [f"`{member}`", _kind(field), plain(field.get("description", ""))]
                for member, field in schema["properties"].items()
            ]
            text += table(["member", "is", ""], rows) + "\n"
    return text.rstrip("\n") + "\n"
