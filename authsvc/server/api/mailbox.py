"""``/v1/me/mailbox`` and dead letters: how much is kept, and what nobody could handle."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from authsvc import jose
from authsvc.errors import Conflict
from authsvc.server import mailboxes, metrics
from authsvc.server.api.apps import AppPath, canonical, change_by, ensure_may
from authsvc.server.api.deps import CallerDep, RunningDep, read_body, refusals
from authsvc.server.api.mail_schemas import (
    LetterPage,
    MailboxAnswer,
    MailboxChange,
    MailboxRequest,
    Requeued,
    letter_json,
    mailbox_json,
    settled_json,
)
from authsvc.server.api.schemas import PROOF
from authsvc.server.models import DeadLetter
from authsvc.server.provision.jetstream import FULL, JetStreamRefused
from authsvc.server.running import Running

__all__ = ["router"]

router = APIRouter(tags=["mailbox"])

_JSON = "application/json"
_OWN = {**PROOF, "security": [{"credential": []}]}
_BODY = {
    "requestBody": {
        "required": False,
        "content": {_JSON: {"schema": MailboxRequest.model_json_schema()}},
    }
}
LetterPath = Annotated[str, Path(description="The dead letter's id.", max_length=64)]


@router.get(
    "/v1/me/mailbox",
    response_model=None,
    responses={200: {"model": MailboxAnswer}, **refusals(401, 403, 503)},
    openapi_extra=_OWN,
)
async def get(service: RunningDep, caller: CallerDep) -> Response:
    """Whether responses are kept for you, and your limits."""
    async with service.database.reading() as session:
        found = await mailboxes.read_mailbox(session, caller.user_id)
    return Response(jose.dumps(mailbox_json(found)), media_type=_JSON)


@router.put(
    "/v1/me/mailbox",
    response_model=None,
    responses={200: {"model": MailboxChange}, **refusals(401, 403, 404, 409, 413, 422, 503)},
    openapi_extra={**_OWN, **_BODY},
)
async def put(request: Request, service: RunningDep, caller: CallerDep) -> Response:
    """Let responses be kept, or change the limits; what is left out stays as it is."""
    body = await read_body(request, MailboxRequest)
    if body.changes() != {"responses": True}:
        ensure_may(caller, None)  # whoever submits may have the answers kept, and no more
    async with service.database.writing() as session:
        await service.proofs.spend(session, caller.proof)
        change = change_by(service, caller, request)
        answer = mailbox_json(await mailboxes.put_mailbox(session, body.changes(), change))
    settled = await service.mail.settle(caller.token)
    return Response(jose.dumps({**answer, "propagation": settled_json(settled)}), media_type=_JSON)


@router.get(
    "/v1/me/apps/{app}/dead-letters",
    response_model=None,
    responses={200: {"model": LetterPage}, **refusals(401, 403, 404, 422, 503)},
    openapi_extra=_OWN,
)
async def dead_letters(
    service: RunningDep,
    caller: CallerDep,
    app: AppPath,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Annotated[str | None, Query(pattern=r"^ded_[0-9a-v]{26}$")] = None,
) -> Response:
    """Requests that your app took as often as it may and never acknowledged, newest first."""
    name = canonical(app)
    ensure_may(caller, name)
    async with service.database.reading() as session:
        found = await mailboxes.find_app(session, caller.user_id, name)
        letters = await mailboxes.list_letters(session, found, limit=limit + 1, after=cursor)
    more = letters[limit - 1].id if len(letters) > limit else None
    answer = {"items": [letter_json(letter) for letter in letters[:limit]], "next_cursor": more}
    return Response(jose.dumps(answer), media_type=_JSON)


@router.post(
    "/v1/me/apps/{app}/dead-letters/{letter_id}/requeue",
    response_model=None,
    responses={200: {"model": Requeued}, **refusals(401, 403, 404, 409, 422, 503)},
    openapi_extra=_OWN,
)
async def requeue(
    request: Request, service: RunningDep, caller: CallerDep, app: AppPath, letter_id: LetterPath
) -> Response:
    """Put a dead letter back: your app takes it again, as if it were new."""
    name = canonical(app)
    ensure_may(caller, name)
    async with service.database.writing() as session:
        await service.proofs.spend(session, caller.proof)
        found = await mailboxes.find_app(session, caller.user_id, name)
        letter = await mailboxes.claim_letter(session, found, letter_id, time.time())
    # No transaction is open while nats-server is waited for.
    await _put_back(service, letter)
    async with service.database.writing() as session:
        change = change_by(service, caller, request)
        await mailboxes.finish_letter(session, letter, change)
    metrics.REQUEUED.inc()
    return Response(jose.dumps({**letter_json(letter), "requeued": True}), media_type=_JSON)


async def _put_back(service: Running, letter: DeadLetter) -> None:
    try:
        await service.mail.put_back(letter)
    except BaseException as error:
        async with service.database.writing() as session:
            await mailboxes.release_letter(session, letter.id)
        if isinstance(error, JetStreamRefused) and error.code == FULL:
            raise Conflict(
                "the mailbox is full, or this requester's part of it; let the app take some first"
            ) from error
        raise
