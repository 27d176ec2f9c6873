"""HTTP over NATS: httpx clients that call apps, and HTTP apps that are called.

http = httpx.AsyncClient(transport=client.peer("bob@example.com", "docs").transport(),
                         base_url="http://bob")

serve_asgi(fastapi_app, "docs")                       # the app on NATS; blocks
app = FastAPI(lifespan=rpc_lifespan("docs"))          # on NATS besides its HTTP port
"""

from authsvc.rpc._http.asgi import AsgiService, rpc_lifespan, serve_asgi
from authsvc.rpc._http.bridge import BridgeService
from authsvc.rpc._streams.transport import AsyncTransport
from authsvc.rpc._sync.transport import SyncTransport

__all__ = [
    "AsgiService",
    "AsyncTransport",
    "BridgeService",
    "SyncTransport",
    "rpc_lifespan",
    "serve_asgi",
]
