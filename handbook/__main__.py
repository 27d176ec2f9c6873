"""``python -m handbook``: write the reference pages anew."""

from __future__ import annotations

import asyncio

from handbook.reference import pages, write

for name in write(asyncio.run(pages())):
    print(name)
