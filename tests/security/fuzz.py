"""Every decoder in turn, on changed good input, for as long as one likes.

    python -m tests.security.fuzz --seconds 3600
    python -m tests.security.fuzz --seconds 60 --only "account's claims, signed" --seed 7

A finding is an exception that is not one of the decoder's own errors, a case that takes more
than a second of CPU, or one that holds more than 200 MB: each is printed with its input, once per
place.
What it read without an error joins the good input, so that changes add up.
"""

from __future__ import annotations

import argparse
import base64
import json
import logging
import random
import resource
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from tests.security.decoders import DECODERS, Decoder
from tests.security.mutation import changed

__all__ = ["Finding", "Tally", "run"]

SLOW_SECONDS = 1.0
GROWTH_BYTES = 200 << 20
_TURN_SECONDS = 2.0
_KEPT = 200
_LONGEST = 20_000
_LOOK = 64
"""Cases between two looks at the memory."""


class _TooSlow(BaseException):
    """No decoder catches it by mistake."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a decoder should not have done, and the input that made it."""

    decoder: str
    what: str
    data: bytes = field(repr=False)


@dataclass(slots=True)
class Tally:
    """A decoder's figures."""

    cases: int = 0
    read: int = 0
    """Those that it found nothing wrong with."""
    seconds: float = 0.0
    slowest: float = 0.0
    findings: dict[str, Finding] = field(default_factory=dict)
    """By where they happened."""


def run(name: str, seconds: float, chance: random.Random, tally: Tally, seeds: list[bytes]) -> None:
    """Go on with one decoder.

    Args:
        name: Of the decoder.
        seconds: For how long.
        chance: Decides everything.
        tally: Its figures so far.
        seeds: What it begins from; grows.
    """
    decoder = DECODERS[name]
    with _bounded():
        began, before = time.perf_counter(), _peak()
        while time.perf_counter() - began < seconds:
            data = changed(chance.choice(seeds), seeds, chance)[:_LONGEST]
            now = time.perf_counter()
            what, read = _one(decoder, data)
            taken = time.perf_counter() - now
            tally.cases += 1
            tally.slowest = max(tally.slowest, taken)
            if tally.cases % _LOOK == 0 and (peak := _peak()) > before + GROWTH_BYTES:
                what, before = f"memory grew by {(peak - before) >> 20} MB", peak
            if what:
                tally.findings.setdefault(what, Finding(name, what, data))
            elif read:
                tally.read += 1
                if chance.random() < 0.01:
                    _keep(seeds, data, len(decoder.good), chance)
        tally.seconds += time.perf_counter() - began


def _one(decoder: Decoder, data: bytes) -> tuple[str, bool]:
    """What was wrong, and whether it was read without an error."""
    signal.setitimer(signal.ITIMER_PROF, SLOW_SECONDS)
    try:
        decoder.read(data)
    except decoder.errors:
        return "", False
    except _TooSlow as error:
        return f"more than {SLOW_SECONDS:g} s at {_place(error)}", False
    except Exception as error:  # noqa: BLE001  that is what it looks for
        return f"{type(error).__name__} at {_place(error)}", False
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return "", True


def _keep(seeds: list[bytes], data: bytes, given: int, chance: random.Random) -> None:
    if len(seeds) < given + _KEPT:
        seeds.append(data)
    else:
        seeds[chance.randrange(given, len(seeds))] = data


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/authsvc/" in frame.filename] or frames
    return f"{ours[-1].filename.partition('/authsvc/')[2] or ours[-1].filename}:{ours[-1].lineno}"


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@contextmanager
def _bounded() -> Iterator[None]:
    def too_slow(_number: int, _frame: FrameType | None) -> None:
        raise _TooSlow

    before = signal.signal(signal.SIGPROF, too_slow)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _report(tallies: dict[str, Tally]) -> str:
    lines = [
        f"{name:34} {it.cases:>10} cases {it.cases / (it.seconds or 1):>8.0f}/s "
        f"{it.read / (it.cases or 1):>5.0%} read  slowest {it.slowest * 1000:>6.1f} ms  "
        f"{len(it.findings)} findings"
        for name, it in tallies.items()
    ]
    cases = sum(it.cases for it in tallies.values())
    found = sum(len(it.findings) for it in tallies.values())
    seconds = sum(it.seconds for it in tallies.values())
    return "\n".join([*lines, f"all: {cases} cases in {seconds:.0f} s, {found} findings"])


def main() -> int:
    """Run from the command line; 1 where something was found."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=60.0)
    options.add_argument("--seed", type=int, default=None)
    options.add_argument("--only", choices=DECODERS, action="append")
    given = options.parse_args()
    seed = given.seed if given.seed is not None else time.time_ns() & 0xFFFFFFFF
    logging.disable()
    chance = random.Random(seed)  # noqa: S311
    names = given.only or list(DECODERS)
    tallies = {name: Tally() for name in names}
    seeds = {name: list(DECODERS[name].good) for name in names}
    print(f"seed {seed}, {len(names)} decoders", flush=True)  # noqa: T201
    ends = time.monotonic() + given.seconds
    turn = min(_TURN_SECONDS, given.seconds / len(names))
    told: set[str] = set()
    while (left := ends - time.monotonic()) > 0:
        for name in names:
            run(name, min(turn, max(left, turn / 4)), chance, tallies[name], seeds[name])
            for finding in tallies[name].findings.values():
                if finding.decoder + finding.what not in told:
                    told.add(finding.decoder + finding.what)
                    sample = base64.b64encode(finding.data[:2000]).decode()
                    print(json.dumps([finding.decoder, finding.what, sample]), flush=True)  # noqa: T201
    print(_report(tallies), flush=True)  # noqa: T201
    return 1 if told else 0


if __name__ == "__main__":
    sys.exit(main())
