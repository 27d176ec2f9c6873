"""Why a server can't be reached, for those who have to mend it."""

from __future__ import annotations

__all__ = ["unreachable"]


def unreachable(error: Exception) -> str:
    """Why, in a few words, and what to do where it is the server's certificate.

    Args:
        error: What the HTTP client raised.
    """
    text = str(error)
    if "CERTIFICATE_VERIFY_FAILED" not in text:
        return type(error).__name__
    why = text.partition("certificate verify failed: ")[2].partition(" (_ssl")[0]
    known = "expired" in why or "mismatch" in why
    mend = "" if known else "; name its authority's file by SSL_CERT_FILE"
    return f"its certificate does not hold: {why or 'not trusted'}{mend}"
