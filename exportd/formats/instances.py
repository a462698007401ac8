"""What an instance of open lines is called: one rule for the overlay's badges and for the tables."""

from __future__ import annotations

from collections.abc import Sequence

from exportd.core.dataset import Polyline

MICROTUBULES = "microtubules"


def instance_of(line: Polyline) -> str | None:
    """What ties lines of one object together: `instanceId`, else `trackId`; None for a line that stands alone."""
    return line.instance_id or line.track_id


def labels(project_type: str, lines: Sequence[Polyline]) -> list[str]:
    """A label for each line of one image; empty where it has none. Lines of one instance have the same.

    Microtubules are MT1, MT2, ... in the order in which their instances occur in the image, and each line without
    instance is one of its own. The numbers begin anew in each image: what follows an object through the frames of a video
    is its instance or track id, which tables show beside the label. In other projects the label is this id, else the
    line's name.
    """
    if project_type != MICROTUBULES:
        return [instance_of(line) or line.name or "" for line in lines]
    numbers: dict[tuple[object, ...], int] = {}
    return [f"MT{numbers.setdefault(_key(line, place), len(numbers) + 1)}" for place, line in enumerate(lines)]


def _key(line: Polyline, place: int) -> tuple[object, ...]:
    """An instance and a track of one name are different things, and so are two lines that have neither."""
    return (line.instance_id,) if line.instance_id else (None, line.track_id or place)
