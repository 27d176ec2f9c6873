"""Bob comes back, as another process, and asks for the answer."""

from pathlib import Path

from authsvc.rpc import Client

with Client("http://127.0.0.1:8080", token="bob@example.com", method="dev", key="bob.nk") as client:
    future = client.future(Path("ticket.txt").read_text())
    print(future.result(timeout=30).json())
