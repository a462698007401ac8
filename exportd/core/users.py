"""Who asks, and what they may."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class User:
    """A user as the platform's tokens and tables know them."""

    id: str
    email: str


class Access(StrEnum):
    """How somebody has access to a project."""

    OWNER = "owner"
    SHARED = "shared"
