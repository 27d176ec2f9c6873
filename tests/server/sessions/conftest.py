"""What tests of the desk share."""

from __future__ import annotations

import secrets

import pytest

from authsvc.server.database import Database
from authsvc.server.keystore import Keystore
from authsvc.server.provision.bootstrap import bootstrap
from tests.server.sessions.office import Office


@pytest.fixture
async def office(database: Database) -> Office:
    keystore = Keystore(secrets.token_bytes(32))
    async with database.writing() as session:
        material = await bootstrap(session, keystore, account_name="people", now=1)
    return Office(database, material, keystore)
