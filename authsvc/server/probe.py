"""``python -m authsvc.server.probe``: whether the service in this container answers.

For a health check: it asks ``/healthz`` where the settings in the environment say that the API
listens, with or without TLS, and exits with 0 or 1. It imports nothing slow. The certificate is
not checked: it is for the name that clients use, and this asks by address.
"""

from __future__ import annotations

import http.client
import os
import ssl
import sys

__all__ = ["main"]

_SECONDS = 4.0
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what is asked in their place


def main() -> int:
    """Ask once; the exit code."""
    host = os.environ.get("AUTHSVC_HOST") or "127.0.0.1"
    port = int(os.environ.get("AUTHSVC_PORT") or 8080)
    place = (_ANYWHERE.get(host, host), port)
    connection: http.client.HTTPConnection
    if os.environ.get("AUTHSVC_TLS_CERT"):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(*place, timeout=_SECONDS, context=context)
    else:
        connection = http.client.HTTPConnection(*place, timeout=_SECONDS)
    try:
        connection.request("GET", "/healthz")
        status = connection.getresponse().status
    except OSError as error:
        print(f"no answer from {host}:{port}: {error}", file=sys.stderr)  # noqa: T201
        return 1
    finally:
        connection.close()
    return 0 if status == http.HTTPStatus.OK else 1


if __name__ == "__main__":
    sys.exit(main())
