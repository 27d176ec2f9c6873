"""Alice's app: answers /ping, and tells who asked."""

from authsvc.rpc import Request, Service

service = Service("pingpong", on_ready=lambda: print("ready", flush=True))


@service.on_request("/ping")
async def ping(request: Request) -> dict:
    return {"pong": request.json()["n"], "hello": request.requester}


@service.on_request("/diary", allow=["bob@example.com"])
async def diary() -> str:
    return "for bob alone"


service.run("http://127.0.0.1:8080", token="alice@example.com", method="dev", key="alice.nk")
