"""Logins at an even pace for an hour, and what the memory of the service does meanwhile.

    python -m benchmarks.soak [--minutes 60] [--logins 100] [--people 20000] [--database URL]
                              [--csv FILE] [--png FILE] [--json]

``authsvc up`` runs as its users start it, with SyftBox's shared secret. People log in at random,
each with a fresh token and proof; some with a new nkey, as after a new installation. Beside
that JWTs are renewed, and now and then somebody revokes a credential, which is pushed to
nats-server. The slopes are those of straight lines through what was read in the second half.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import csv
import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass, field, fields
from pathlib import Path
from typing import Any

import uvloop

from benchmarks import crowd
from benchmarks.arrivals import Arrivals
from benchmarks.figures import at, slope
from benchmarks.issue import SECRET
from benchmarks.processes import MIB, resident, taken
from benchmarks.product import Up, started

EXPECTED = {"login": 201, "renew": 201, "revoke": 200}
CONNECTIONS = 32


@dataclass(frozen=True, slots=True)
class Reading:
    """What was there at a time: seconds, MiB, and seconds of CPU since the start."""

    second: float
    service_mib: float
    nats_mib: float
    database_mib: float
    service_cpu_s: float
    answered: int


@dataclass
class Answers:
    """What was answered, by what was asked, and how long it took, by the minute."""

    began: float
    count: int = 0
    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    minutes: dict[int, list[float]] = field(default_factory=dict)

    def note(self, ask: crowd.Ask, due: float, status: int, body: bytes) -> None:
        now = time.perf_counter()
        self.count += 1
        self.statuses[ask.kind, status] += 1
        if ask.kind == "login":
            self.minutes.setdefault(int((due - self.began) // 60), []).append(now - due)
        granted = status == EXPECTED[ask.kind]
        ask.answered(body, granted=granted)
        if not granted and len(self.failures) < 20:
            self.failures.append(f"{ask.kind} {status} {body[:300].decode(errors='replace')}")

    def at(self, part: float, minute: int | None = None) -> float:
        """Milliseconds within which so many logins were answered; of all minutes unless given."""
        chosen = self.minutes.values() if minute is None else [self.minutes[minute]]
        return at((it for one in chosen for it in one), part)


def database_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("authsvc.db*"))


def read(up: Up, answers: Answers) -> Reading:
    service = taken(up.pid)
    return Reading(
        second=round(time.perf_counter() - answers.began, 1),
        service_mib=round(service.resident / MIB, 2),
        nats_mib=round(resident(up.nats_pid) / MIB, 2),
        database_mib=round(database_bytes(up.folder) / MIB, 2),
        service_cpu_s=service.cpu,
        answered=answers.count,
    )


async def sample(
    up: Up, answers: Answers, options: argparse.Namespace, readings: list[Reading]
) -> None:
    """Read, over and over, until cancelled."""
    if options.csv:
        write_csv(options.csv, [it.name for it in fields(Reading)], mode="w")
    while True:
        readings.append(read(up, answers))
        if options.csv:
            write_csv(options.csv, astuple(readings[-1]))
        await asyncio.sleep(options.every)


def asked(options: argparse.Namespace, people: crowd.Crowd) -> Iterator[tuple[crowd.Ask, bytes]]:
    """What is asked in turn; logins, renewals and revocations by their paces."""
    paces = [options.logins, options.renewals, options.revocations]
    kinds = [people.login, people.renew, people.revoke]
    chance = random.Random(7)  # noqa: S311 - the same order in each run
    for _ in range(int(sum(paces) * options.minutes * 60)):
        (kind,) = chance.choices(kinds, paces)
        ask = kind()
        yield ask, ask.request


async def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    people = crowd.Crowd(options.people, options.new_keys)
    environment = {"database_url": options.database} if options.database else {}
    with started(folder, syftbox_access_token_secret=SECRET, **environment) as up:
        people.url = up.url
        pace = options.logins + options.renewals + options.revocations
        readings: list[Reading] = []
        answers = Answers(time.perf_counter())
        sampling = asyncio.create_task(sample(up, answers, options, readings))
        await Arrivals(up.port, CONNECTIONS).run(asked(options, people), pace, answers.note)
        sampling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sampling
    if options.png:
        draw(options.png, readings)
    return summary(answers, readings)


def per_hour(readings: list[Reading], name: str) -> float:
    """MiB an hour, over the second half."""
    half = readings[len(readings) // 2 :]
    return round(slope([(it.second / 3600, getattr(it, name)) for it in half]), 2)


def summary(answers: Answers, readings: list[Reading]) -> dict[str, Any]:
    whole = {key: number for key, number in answers.statuses.items() if key[1] != EXPECTED[key[0]]}
    last, middle = readings[-1], readings[len(readings) // 2]
    logins = answers.statuses["login", 201]
    minutes = sorted(answers.minutes)[: max(1, len(answers.minutes) - 1)]
    return {
        "seconds": last.second,
        "logins": logins,
        "logins_per_s": round(logins / last.second, 1),
        "renewals": answers.statuses["renew", 201],
        "revocations": answers.statuses["revoke", 200],
        "refused_503": sum(count for (_, status), count in whole.items() if status == 503),
        "failed": sum(count for (_, status), count in whole.items() if status != 503),
        "failures": answers.failures,
        "p50_ms": answers.at(0.5),
        "p99_ms": answers.at(0.99),
        "p999_ms": answers.at(0.999),
        "p50_ms_by_minute": [answers.at(0.5, minute) for minute in minutes],
        "p99_ms_by_minute": [answers.at(0.99, minute) for minute in minutes],
        "service_mib": [readings[0].service_mib, middle.service_mib, last.service_mib],
        "service_mib_per_hour": per_hour(readings, "service_mib"),
        "nats_mib": [readings[0].nats_mib, middle.nats_mib, last.nats_mib],
        "nats_mib_per_hour": per_hour(readings, "nats_mib"),
        "database_mib": [readings[0].database_mib, last.database_mib],
        "service_cpu_share": round(
            (last.service_cpu_s - readings[0].service_cpu_s) / last.second, 3
        ),
    }


def write_csv(path: Path, row: Iterable[Any], mode: str = "a") -> None:
    """Append a line; a run that is ended early has written what it read."""
    with path.open(mode, newline="", encoding="utf-8") as file:
        csv.writer(file).writerow(row)


def draw(path: Path, readings: list[Reading]) -> None:
    from matplotlib.figure import Figure  # noqa: PLC0415  matplotlib is optional

    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    minutes = [it.second / 60 for it in readings]
    axes.plot(minutes, [it.service_mib for it in readings], label="service")
    axes.plot(minutes, [it.nats_mib for it in readings], label="nats-server")
    axes.set(xlabel="minutes", ylabel="resident MiB", ylim=(0, None))
    axes.legend()
    figure.savefig(path, dpi=120)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--logins", type=float, default=100, help="a second")
    parser.add_argument("--renewals", type=float, default=10, help="a second, beside them")
    parser.add_argument("--revocations", type=float, default=0.1, help="a second, beside them")
    parser.add_argument("--people", type=int, default=20_000)
    parser.add_argument("--new-keys", type=float, default=0.1, help="share of logins with one")
    parser.add_argument("--every", type=float, default=10, help="seconds between two readings")
    parser.add_argument("--database", help="a database URL; SQLite in a new folder unless given")
    parser.add_argument("--csv", type=Path, help="write what was read there")
    parser.add_argument("--png", type=Path, help="draw it there, where matplotlib is installed")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    with (
        tempfile.TemporaryDirectory() as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        found = runner.run(measure(options, Path(folder)))
    if options.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:22} {value}")


if __name__ == "__main__":
    main()
