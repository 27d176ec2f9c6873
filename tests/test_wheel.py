"""The wheel, in environments of its own: the library alone, and the service from the wheel."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SERVER_ONLY = ("fastapi", "sqlmodel", "sqlalchemy", "alembic", "uvicorn", "typer", "jwt")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(output)]
    subprocess.run([*command, str(ROOT)], check=True, capture_output=True, timeout=100)
    (found,) = output.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that has the base install and nothing else."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder)
    locked = (ROOT / "requirements.lock").read_text()
    pins = re.findall(r"^([a-z0-9._-]+==[^ \\;]+)", locked, flags=re.MULTILINE)
    constraints = folder / "constraints.txt"
    constraints.write_text("\n".join(pins))
    python = folder / "bin" / "python"
    # This environment's pip, as a new one would take seconds to come; what is run here is compiled
    # then, and the rest never.
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q"]
    command += ["--no-compile", "-c", str(constraints), str(wheel)]
    subprocess.run(command, check=True, capture_output=True, timeout=110)
    return python


def run(python: Path, code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd="/",
    )


def test_the_library_works_alone(bare: Path) -> None:
    done = run(bare, "import authsvc.rpc, authsvc.client; print(authsvc.rpc.Service('x').name)")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "x"


def test_nothing_of_the_server_is_there(bare: Path) -> None:
    code = f"""
import importlib.util
found = [name for name in {SERVER_ONLY!r} if importlib.util.find_spec(name)]
assert not found, found
import sys, authsvc.rpc
assert not [name for name in sys.modules if name.startswith("authsvc.server")]
"""
    done = run(bare, code)
    assert done.returncode == 0, done.stderr


def test_the_command_line_says_what_is_missing(bare: Path) -> None:
    done = subprocess.run(
        [bare.parent / "authsvc", "up"], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert "authsvc[server]" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_service_runs_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    """Migrations and type information are in the wheel too."""
    target = tmp_path / "site"
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(target)
    assert (target / "authsvc" / "py.typed").exists()
    command = [sys.executable, "-m", "authsvc", "up", "--demo", "--once", "--port", "0"]
    done = subprocess.run(
        [*command, "--nats-port", "0", "--data-dir", str(tmp_path / "data")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(target)},
    )
    assert done.returncode == 0, done.stderr
    where = subprocess.run(
        [sys.executable, "-c", "import authsvc; print(authsvc.__file__)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(target)},
    )
    assert where.stdout.startswith(str(target))
