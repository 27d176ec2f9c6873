"""The audit: what was done, by whom; sealed, so that nobody changes it unseen.

events      a deed becomes a row, in the deed's own transaction
chain       how events are sealed: encodings and MACs, no I/O
anchor      the audit's key and the chain's newest link, kept as secrets
sealing     events become a link of the chain
sealer      the service seals what is not sealed yet
retention   the service drops what is older than it shall be kept
verify      finds what was changed, removed, inserted
listing     pages, filters, and the shape of an item
"""

from authsvc.server.audit.events import INSERT, Actor, Context, append, event

__all__ = ["INSERT", "Actor", "Context", "append", "event"]
