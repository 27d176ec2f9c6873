"""Alice's app: counts words, now or when it is back."""

from authsvc.rpc import Request, Service

service = Service("words", offline=True, on_ready=lambda: print("ready", flush=True))


@service.on_request("/count")
async def count(request: Request) -> dict:
    return {"words": len(request.text.split()), "for": request.requester}


service.run("http://127.0.0.1:8080", token="alice@example.com", method="dev", key="alice.nk")
