"""Bob leaves a request, writes down what to ask for, and goes."""

from pathlib import Path

from authsvc.rpc import Client

with Client("http://127.0.0.1:8080", token="bob@example.com", method="dev", key="bob.nk") as client:
    alice = client.peer("alice@example.com", "words")
    future = alice.submit("/count", content="one two three", expires="1h")
    Path("ticket.txt").write_text(future.id)
    print("submitted; answered already:", future.done())
