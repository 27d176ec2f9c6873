from __future__ import annotations

import stat
from pathlib import Path

from authsvc.server.private import environment, write_private


def test_a_private_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, "new")
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_other_programs_get_none_of_our_settings() -> None:
    own = {"PATH": "/bin", "AUTHSVC_MASTER_KEY": "x", "authsvc_database_url": "y", "AUTHS": "z"}
    assert environment(own) == {"PATH": "/bin", "AUTHS": "z"}
