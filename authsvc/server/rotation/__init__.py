"""Keys that change: signing keys of accounts, the operator's keys, the master key."""

from authsvc.server.rotation.custody import export_seed, import_seed, remove_seed
from authsvc.server.rotation.lines import find_account, needed, read_line
from authsvc.server.rotation.listing import Listed, list_keys
from authsvc.server.rotation.master import Changed, change_master_key
from authsvc.server.rotation.rotation import Rotation
from authsvc.server.rotation.steps import Rotated

__all__ = [
    "Changed",
    "Listed",
    "Rotated",
    "Rotation",
    "change_master_key",
    "export_seed",
    "find_account",
    "import_seed",
    "list_keys",
    "needed",
    "read_line",
    "remove_seed",
]
