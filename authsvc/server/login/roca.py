"""RSA keys that can be factored because a faulty library made them (CVE-2017-15361, ROCA). Pure.

Its primes are 65537^a modulo the product of the first primes, plus a multiple of that product. So
modulo each of those small primes their product, the modulus, is a power of 65537 too; of a sound
key that is so by chance once in more than 10^8 keys.

Source: Nemec and others, "The Return of Coppersmith's Attack", CCS 2017, section 3.
"""

from __future__ import annotations

__all__ = ["is_guessable"]

_GENERATOR = 65537
_PRIMES = [number for number in range(3, 168) if all(number % it for it in range(2, number))]


def _powers(prime: int) -> frozenset[int]:
    found, power = set(), 1
    while power not in found:
        found.add(power)
        power = power * _GENERATOR % prime
    return frozenset(found)


_FINGERPRINT = {prime: _powers(prime) for prime in _PRIMES}


def is_guessable(modulus: int) -> bool:
    """Whether an RSA modulus was made by that library."""
    return all(modulus % prime in powers for prime, powers in _FINGERPRINT.items())
