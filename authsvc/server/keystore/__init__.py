"""Private keys at rest: AES-256-GCM under a master key that the database never sees.

    keystore = open_keystore(settings)
    await verify_master_key(session, keystore)          # before anything is sealed in a transaction
    sealed = keystore.seal(pair, pair.public.text)      # goes into a row
    pair = keystore.open(sealed, pair.public.text)      # the same context, else KeyUnavailable

While the master key is changed there are two. The database says which one seals: the one that its
check text is sealed by.
"""

from authsvc.server.keystore.check import is_new, verify_master_key
from authsvc.server.keystore.files import (
    forget_former,
    load_master_key,
    load_master_keys,
    open_keystore,
    replace_master_key,
)
from authsvc.server.keystore.seals import Keystore

__all__ = [
    "Keystore",
    "forget_former",
    "is_new",
    "load_master_key",
    "load_master_keys",
    "open_keystore",
    "replace_master_key",
    "verify_master_key",
]
