"""Write a new revision from what the models have and a fresh database at the newest lacks."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from alembic import command
from sqlalchemy import create_engine

from authsvc.server import migrations


def _main(message: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        engine = create_engine(f"sqlite:///{Path(folder) / 'fresh.db'}")
        with engine.connect() as connection:
            migrations.upgrade(connection)
            configuration = migrations.config(connection)
            script = command.revision(configuration, message, autogenerate=True)
        engine.dispose()
    sys.stdout.write(f"{script}\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:  # noqa: PLR2004
        sys.exit('usage: python -m authsvc.server.migrations "what changes"')
    _main(sys.argv[1])
