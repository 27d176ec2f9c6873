"""Apps, mailboxes and dead letters: what their owner changes, as rows.

``apps`` registers apps, ``settings`` says how large a mailbox is and of how many there may be,
``letters`` reads dead letters and lets one of those who want to put it back do so. nats-server
learns of changes by ``provision.mail_reconcile``.
"""

from authsvc.server.mailboxes.apps import (
    delete_app,
    find_app,
    list_apps,
    put_app,
)
from authsvc.server.mailboxes.change import Change
from authsvc.server.mailboxes.letters import (
    claim_letter,
    finish_letter,
    forget_letters,
    list_letters,
    release_letter,
)
from authsvc.server.mailboxes.settings import MailboxChanges, put_mailbox, read_mailbox

__all__ = [
    "Change",
    "MailboxChanges",
    "claim_letter",
    "delete_app",
    "find_app",
    "finish_letter",
    "forget_letters",
    "list_apps",
    "list_letters",
    "put_app",
    "put_mailbox",
    "read_mailbox",
    "release_letter",
]
