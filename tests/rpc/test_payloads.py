"""Typed payloads: pydantic models as bodies, both ways."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

import pytest
from pydantic import BaseModel, Field, ValidationError

from authsvc.rpc import Request, Response, Service
from tests.rpc.conftest import People
from tests.rpc.test_service import pair


class Item(BaseModel):
    name: str
    at: datetime


class Basket(BaseModel):
    items: list[Item]


@dataclass
class Plain:
    n: int


ITEM = Item(name="apple", at=datetime(2026, 1, 2, tzinfo=UTC))


async def test_models_travel_both_ways(people: People) -> None:
    service = Service("typed")

    @service.on_request("/one")
    async def one(item: Item) -> Item:
        return item

    @service.on_request("/many")
    async def many(items: list[Item]) -> list[Item]:
        return items

    @service.on_request("/deep")
    def deep(request: Request) -> dict[str, object]:
        return {"basket": request.model(Basket), "n": 1}

    peer = await pair(people, service)
    response = await peer.call("/one", json=ITEM)
    assert response.headers["content-type"] == "application/json"
    assert response.model(Item) == ITEM
    assert (await peer.call("/many", json=[ITEM, ITEM])).model(list[Item]) == [ITEM, ITEM]
    answer = await peer.call("/deep", json=Basket(items=[ITEM]))
    assert answer.json()["basket"]["items"][0]["name"] == "apple"
    assert (await peer.call("/many", json={"a": ITEM})).status == 422


def test_what_is_not_of_the_kind_is_a_value_error() -> None:
    response = Response({"n": "x"})
    for kind in (Item, list[Item], Plain, Annotated[int, Field(gt=0)]):
        with pytest.raises(ValidationError):
            response.model(kind)
    with pytest.raises(ValueError, match="JSON"):
        Response(b"{").model(Item)
    assert Response({"n": 3}).model(Plain) == Plain(3)
    assert Response(b"3").model(Annotated[int, Field(json_schema_extra={"a": []})]) == 3


def test_what_json_cannot_hold_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        Response([object()])


def test_without_pydantic_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydantic", None)
    with pytest.raises(TypeError, match="pip install pydantic"):
        Response(b"[]").model(tuple[int, str])
