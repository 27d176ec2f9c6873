from __future__ import annotations

from authsvc.unreachable import unreachable


def test_a_certificate_that_does_not_hold_is_said() -> None:
    failed = "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: "
    own = unreachable(OSError(f"{failed}self-signed certificate (_ssl.c:1006)"))
    assert "self-signed certificate; " in own
    assert "SSL_CERT_FILE" in own
    ended = unreachable(OSError(f"{failed}certificate has expired (_ssl.c:1006)"))
    assert ended == "its certificate does not hold: certificate has expired"
    assert unreachable(ConnectionRefusedError("x")) == "ConnectionRefusedError"
