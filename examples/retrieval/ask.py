"""A caller as there are many: a plain httpx.Client, of which only the transport is new."""

import sys

import httpx

from authsvc.rpc import Client

with Client("http://127.0.0.1:8080", token="bob@example.com", method="dev", key="bob.nk") as client:
    transport = client.peer("alice@example.com", "retrieval").transport()
    with httpx.Client(transport=transport, base_url="http://alice") as http:
        response = http.post("/query", json={"text": sys.argv[1], "limit": 1})
        response.raise_for_status()
        answer = response.json()
        print("asked by", answer["asked_by"])
        for hit in answer["hits"]:
            print(f"{hit['document']}: {hit['passage']}")
        print("an empty question:", http.post("/query", json={"text": ""}).status_code)
