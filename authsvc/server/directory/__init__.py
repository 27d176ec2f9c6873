"""Users: what changes them, what follows from it, and lists of them.

``creation`` creates, ``users`` changes, disables and deletes, ``listing`` reads pages, ``watching``
what administrators look at while it runs. Whatever
takes something away ends the JWTs that still say otherwise, in the same transaction.
"""

from authsvc.server.directory.creation import Creation, NewUser, create_users, note_growth
from authsvc.server.directory.listing import (
    Counts,
    count_belongings,
    get_credential,
    list_all_credentials,
    list_users,
)
from authsvc.server.directory.users import (
    Edit,
    UserChanges,
    delete_user,
    set_disabled,
    update_user,
)
from authsvc.server.directory.watching import MailboxRow, Owner, list_mailboxes, owners_of

__all__ = [
    "Counts",
    "Creation",
    "Edit",
    "MailboxRow",
    "NewUser",
    "Owner",
    "UserChanges",
    "count_belongings",
    "create_users",
    "delete_user",
    "get_credential",
    "list_all_credentials",
    "list_mailboxes",
    "list_users",
    "note_growth",
    "owners_of",
    "set_disabled",
    "update_user",
]
