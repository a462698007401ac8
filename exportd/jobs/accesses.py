"""Who has access to which project at this moment: of the event loop, which asks this at every call."""

from __future__ import annotations

import trio

from exportd.core.users import Access, User
from exportd.store.catalogue import Catalogue

REMEMBERED = 4096
"""Answers; of more than these all are asked again."""


class Accesses:
    """The catalogue's answers, each remembered until anything in the catalogue changes, and no moment longer.

    Where the catalogue cannot tell without waiting whether it was changed, as a database on a server cannot, nothing is
    remembered.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._known: dict[tuple[User, str], Access | None] = {}
        self._as_of: int | None = None

    async def look(self, user: User, project_id: str) -> Access | None:
        """How the user has access now. A checkpoint; a cancel leaves nothing behind. Raises what `Catalogue.access` does."""
        await trio.lowlevel.checkpoint()
        as_of = self._renew()
        asked = (user, project_id)
        if asked in self._known:
            return self._known[asked]
        access = await trio.to_thread.run_sync(self._catalogue.access, user, project_id)
        # Asked after the number was read: what has changed in between changes the number, and this is forgotten.
        if as_of is not None and as_of == self._as_of:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[asked] = access
        return access

    def _renew(self) -> int | None:
        """Forgets what may not hold any more; the number of the catalogue's changes."""
        now = self._catalogue.changes()
        if now is None or now != self._as_of:
            self._known.clear()
            self._as_of = now
        return now
