"""Generic claims: any other kind, signed by any key, its members as they are.

Source: https://github.com/nats-io/jwt (genericclaims.go).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, ClassVar, Self

import orjson

from authsvc.claims.common import VERSION, Claims, shared
from authsvc.claims.members import Json
from authsvc.errors import InvalidClaims
from authsvc.nkey import Prefix

__all__ = ["GenericClaims"]

_WHOLE = 1 << 63
_PLAIN_FROM, _PLAIN_BELOW = 1e-6, 1e21


@dataclass(slots=True, kw_only=True)
class GenericClaims(Claims):
    """Claims of a kind of one's own.

    Go's library reads every number in them as a double; whole numbers stay whole here, so keep
    them below 2 ** 53 where Go reads along. Tags stand in ``data``.

    Args:
        data: The ``nats`` member; ``type`` and ``version`` among it.
    """

    KIND: ClassVar[str] = "generic"
    ISSUERS: ClassVar[tuple[Prefix, ...]] = ()
    SUBJECTS: ClassVar[tuple[Prefix, ...]] = ()

    data: dict[str, Any] = field(default_factory=dict)

    def body(self) -> dict[str, Any]:
        """The ``nats`` member, sorted as Go sorts maps."""
        written: dict[str, Any] = _go({**self.data, "version": VERSION})
        return written

    @classmethod
    def read(cls, payload: Json, nats: Json) -> Self:
        """The claims in a payload."""
        arguments = shared(payload, {})
        return cls(**arguments, data=dict(nats))


def _go(value: Any) -> Any:
    """The value with maps sorted and numbers spelt as Go spells them."""
    if isinstance(value, dict):
        return {key: _go(value[key]) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [_go(item) for item in value]
    if isinstance(value, float) or (isinstance(value, int) and not -_WHOLE < value < _WHOLE):
        return orjson.Fragment(_number(value))
    return value


def _number(number: float) -> str:
    try:
        value = float(number)
    except OverflowError as error:
        raise InvalidClaims("a number in the claims is too large") from error
    if not math.isfinite(value):
        raise InvalidClaims("a number in the claims is not finite")
    text = repr(value)
    if value == 0:
        return "-0" if text.startswith("-") else "0"
    if _PLAIN_FROM <= abs(value) < _PLAIN_BELOW:
        plain = format(Decimal(text), "f")
        return plain.rstrip("0").rstrip(".") if "." in plain else plain
    # Shortest digits, as in Python, but no leading zero in the exponent.
    return text.replace("e-0", "e-").replace("e+0", "e+")
