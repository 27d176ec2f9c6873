"""Everything in authsvc that reads what somebody else wrote, with good input to begin from.

``test_decoders.py`` runs it by hypothesis, ``fuzz.py`` for as long as one likes.
"""

from __future__ import annotations

from tests.security.decoders import answers, files, names, tokens, wire
from tests.security.decoders.decoder import Decoder

__all__ = ["DECODERS", "Decoder"]

DECODERS: dict[str, Decoder] = {
    **tokens.DECODERS,
    **wire.DECODERS,
    **names.DECODERS,
    **files.DECODERS,
    **answers.DECODERS,
}
