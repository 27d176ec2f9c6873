"""Request ids: no two the same, whichever thread or process draws them."""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor

from authsvc.rpc._wire.ids import request_id


def test_threads_draw_ids_that_differ() -> None:
    def draw(count: int) -> list[str]:
        return [request_id() for _ in range(count)]

    with ThreadPoolExecutor(4) as pool:
        found = [one for ids in pool.map(draw, [5000] * 4) for one in ids]
    assert len(set(found)) == len(found)
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in found)


def test_a_child_process_draws_others_than_its_parent() -> None:
    request_id()  # more are drawn than are asked for
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.write(writing, "".join(request_id() for _ in range(100)).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    theirs = {text[place : place + 32] for place in range(0, len(text), 32)}
    assert len(theirs) == 100
    assert not theirs & {request_id() for _ in range(100)}
