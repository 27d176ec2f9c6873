"""The admin console at ``/console``: pages for people, over the public admin API.

calls       one request: its session, the forms it sends, the pages it is answered
api         the admin API, called in process with the session's rights
signing_in  links, API keys, cookies, sign-out
rendering   templates, and the headers that every page has
routes      which handler answers what
"""

from authsvc.server.console.routes import ROUTES

__all__ = ["ROUTES"]
