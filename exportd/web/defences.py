"""Headers with which browsers defend whoever uses exportd: on every answer, whoever gives it.

The page and the documentation load what this host serves and nothing else, and no other page may frame them; no answer is
taken for another type than it says, and no address, which may hold a login ticket or a link's token, goes on to others.
"""

from __future__ import annotations

HEADERS = {
    "content-security-policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
}
