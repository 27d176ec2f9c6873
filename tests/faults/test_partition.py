"""A nats-server of three is cut off: what changes is pending there, and holds when it is back."""

from __future__ import annotations

from pathlib import Path

from tests.faults.network import played


async def test_a_server_that_is_cut_off_is_named_and_lets_nobody_stay(tmp_path: Path) -> None:
    seen = await played("tests.faults.partition", tmp_path)
    # While it is cut off: it is named, the others hold what changed and let new people in.
    assert seen["state"] == "pending"
    assert seen["named"] == seen["status"] == {"n1": True, "n2": True, "n3": False}
    assert seen["revoked after"] < 8
    assert (seen["revoked gets in here"], seen["new gets in here"]) == (False, True)
    # Logins and changes go on, so it is ready.
    assert seen["ready"] == 200
    # When it is back: whoever was revoked is off, whether there before or let in meanwhile.
    assert seen["out after"] < 10
    assert seen["late"] == (["in", "out"] if seen["apart"] else [])
    assert (seen["revoked gets in at last"], seen["new gets in at last"]) == (False, True)
    assert seen["bystander"] == ["in"]
    # Every request that was acknowledged is kept.
    assert seen["kept"] == seen["acknowledged"] > 0
