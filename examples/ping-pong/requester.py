"""Calls alice's app as whoever is named: python requester.py bob@example.com."""

import sys

from authsvc.rpc import Client

name = sys.argv[1]
with Client("http://127.0.0.1:8080", token=name, method="dev", key=f"{name}.nk") as client:
    alice = client.peer("alice@example.com", "pingpong")
    print(alice.call("/ping", json={"n": 1}, timeout=5).json())
    response = alice.call("/diary", timeout=5)
    print(response.status, response.text)
