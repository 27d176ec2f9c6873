"""What peers and streams send: the frames of RPC, what JetStream answers, NATS's own protocol."""

from __future__ import annotations

from typing import Any

from nats.aio.client import Client as NatsClient
from nats.errors import ProtocolError

from authsvc.errors import AuthsvcError
from authsvc.nkey import KeyPair, Prefix
from authsvc.rpc._calls.futures import Ticket
from authsvc.rpc._http.bridge_rules import Rules, is_ambiguous
from authsvc.rpc._messages.message import Response
from authsvc.rpc._messages.trace import TraceContext
from authsvc.rpc._responder.cancelling import cancel_bytes, decode_cancel
from authsvc.rpc._responder.schema import read_description
from authsvc.rpc._session.parser import MessageParser, Taker
from authsvc.rpc._wire import chunks, frames, jetstream, signing
from authsvc.rpc._wire.chain import Sealing, Unsealing
from authsvc.rpc._wire.forwarding import caller_value, content_length, end_to_end
from authsvc.server.provision.frames import read_request
from tests.security.decoders.decoder import Decoder, as_text

ID = "0" * 31 + "1"
KEY = KeyPair(Prefix.USER, bytes(32))
REQUEST = frames.RequestFrame(ID, 1, 2, "POST", "/a?b", (("x", "y"), ("connection", "x")), b"body")
SUBJECT = f"requests.a.b.c.{ID}"
STATUS = b"NATS/1.0 408 Request Timeout\r\nNats-Pending-Messages: 7\r\n\r\n"


RULES = Rules(["/**/a/**/b/**/c", "GET /*a*b*c*d"], ["/**/A/*/b/**", "POST /x"])


class _Signer:
    jwt, key = "e30.e30.AA", KEY


def _forwarded(data: bytes) -> object:
    """A request as the bridge and an app behind it see it."""
    frame = frames.decode_request(data)
    pairs = end_to_end(frame.headers)
    try:
        length = content_length(pairs)
    except ValueError:
        length = None
    return is_ambiguous(frame.target.partition("?")[0]), length, frames.header_pairs(pairs)


def _again(data: bytes) -> object:
    """What was read is written as it was."""
    frame = frames.decode_request(data)
    assert frames.encode_request(frame) == data
    return frame


def _response_again(data: bytes) -> object:
    frame = frames.decode_response(data)
    assert frames.encode_response(frame) == data
    return frame


def _part_again(data: bytes) -> object:
    frame = chunks.decode_part(data)
    match frame:
        case chunks.ChunkFrame():
            again = chunks.encode_chunk(frame)
        case chunks.HeadFrame():
            again = chunks.encode_head(frame)
        case chunks.CreditFrame():
            again = chunks.encode_credit(frame)
        case chunks.CancelFrame():
            again = chunks.encode_cancel(frame)
    assert again == data
    return frame


def _signed(data: bytes) -> object:
    frame = frames.decode_request(data)
    jwt, signature = signing.signature_of(frame.headers)
    text = signing.request_text(SUBJECT, *frame)
    return jwt, KEY.public.verify(text, signature)


def _chained(data: bytes) -> object:
    """A signed body in chunks of which any came; only the ones that were signed are handed on."""
    chain = Unsealing(SUBJECT, ID, b"open", KEY.public, 0)
    found = []
    for piece in data.split(b"|||"):
        frame = chunks.decode_part(piece)
        if isinstance(frame, chunks.ChunkFrame):
            found += [one.content for one in chain.take(frame)]
    assert found in ([], [b"x"], [b"x", b"y"])
    return found


def _chain() -> bytes:
    sealing = Sealing(SUBJECT, ID, b"open")
    made = []
    for offset, content, last in ((0, b"x", False), (1, b"y", True)):
        signature = sealing.signature(KEY, offset, content, last=last)
        made.append(chunks.encode_chunk(chunks.ChunkFrame(ID, offset, last, content, signature)))
    return b"|||".join(made)


def _answered(data: bytes) -> object:
    """Headers, an empty line twice, a payload: as an answer of JetStream comes."""
    headers, _, payload = data.rpartition(b"===")
    found: list[object] = []
    for read in (jetstream.read_receipt, jetstream.read_message):
        try:
            found.append(read("responses_a", payload, headers or None))
        except AuthsvcError as error:
            found.append(error)
    return found


class _Client(NatsClient):
    """nats-py's client without a connection: what its parser calls ends here."""

    async def _process_msg(self, *_args: Any) -> None: ...
    async def _process_pong(self) -> None: ...
    async def _process_ping(self) -> None: ...
    async def _process_err(self, _err_msg: Any) -> None: ...
    async def _process_info(self, *_args: Any, **_named: Any) -> None: ...


def _protocol(data: bytes) -> object:
    """What a nats-server sends, in two reads."""
    got: list[bytes] = []
    parser = MessageParser(
        _Client(), {1: lambda *_: got.append(b"")}, {2: Taker(lambda *_: got.append(b""))}
    )
    running = _both(parser, data)
    try:
        running.send(None)
    except StopIteration:
        return got
    running.close()
    raise AssertionError("the parser waits for something")


async def _both(parser: MessageParser, data: bytes) -> None:
    await parser.parse(data[: len(data) // 2])
    await parser.parse(data[len(data) // 2 :])


def _description(data: bytes) -> object:
    return read_description(Response(data, 200, {"content-type": "application/json"}))


SIGNED = signing.sealed(frames.encode_request(REQUEST), SUBJECT, _Signer())

DECODERS: dict[str, Decoder] = {
    "request": Decoder(_again, (frames.encode_request(REQUEST),)),
    "request, forwarded": Decoder(_forwarded, (frames.encode_request(REQUEST),)),
    "request, signed": Decoder(_signed, (SIGNED,)),
    "request's line": Decoder(read_request, (frames.encode_request(REQUEST),)),
    "response": Decoder(_response_again, (frames.response_bytes(ID, 200, (("x", "y"),), b"body"),)),
    "opening": Decoder(
        chunks.decode_open,
        (chunks.encode_open(chunks.OpenFrame(REQUEST, 70_000, more=True)),),
    ),
    "part": Decoder(
        _part_again,
        (
            chunks.encode_chunk(chunks.ChunkFrame(ID, 5, last=True, content=b"x")),
            chunks.encode_head(chunks.HeadFrame(ID, ID, 200, (("x", "y"),), b"x")),
            chunks.encode_credit(chunks.CreditFrame(ID, ID, 9)),
            chunks.encode_cancel(chunks.CancelFrame(ID, 499)),
        ),
    ),
    "chunks, signed": Decoder(_chained, (_chain(),)),
    "cancellation": Decoder(decode_cancel, (cancel_bytes(ID),)),
    "description": Decoder(_description, (b'{"endpoints":[{"path":"/a","methods":["GET"]}]}',)),
    "status of JetStream": Decoder(lambda data: jetstream.read_status(b"", data), (STATUS,)),
    "answer of JetStream": Decoder(
        _answered,
        (
            b'==={"stream":"responses_a","seq":7,"duplicate":true}',
            b'==={"error":{"code":400,"err_code":10077,"description":"maximum"}}',
            b'==={"message":{"subject":"responses_a","seq":1,"data":"eA=="}}',
            b"NATS/1.0 503\r\n\r\n===",
        ),
    ),
    "NATS protocol": Decoder(
        _protocol,
        (
            b"MSG a.b 1 5\r\nhello\r\nPING\r\nMSG c 1 r 0\r\n\r\n",
            b"HMSG a.b 2 r 12 14\r\nNATS/1.0\r\n\r\nhi\r\n-ERR 'x'\r\n+OK\r\nPONG\r\n",
            b'INFO {"server_id":"x"}\r\nMSG a 9 1\r\nx\r\n',
        ),
        # What nats-py's own parser says to an INFO that is no JSON, and to an empty -ERR.
        errors=(ProtocolError, ValueError, AttributeError),
    ),
    "Future's id": Decoder(
        as_text(Ticket.parse), (f"bob@x%2Ecom.chat.{ID}.1700000000000".encode(),)
    ),
    "trace": Decoder(
        as_text(TraceContext.parse),
        (b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",),
    ),
    "caller's value": Decoder(
        lambda data: caller_value(data.decode("utf-8", "replace")), ("Zoë@x".encode(),)
    ),
    "path under rules": Decoder(
        lambda data: RULES.permits("GET", data.decode("ascii", "replace")),
        (b"/a/b/c", b"/A/x/b/%63/c", b"/a/b" * 100),
    ),
    "path": Decoder(
        lambda data: is_ambiguous(data.decode("ascii", "replace")), (b"/a/b%20c;d/e.f",)
    ),
}
