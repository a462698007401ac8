"""Names of a microtubule project's lines, the same on the overlay and in the table."""

from __future__ import annotations

from exportd.core.dataset import Annotation, Polyline


def instance_of(line: Polyline) -> str:
    """What the line is an observation of: its instance, else its track, else itself."""
    return line.instance_id or line.track_id or line.id


def microtubule_labels(annotation: Annotation) -> list[str]:
    """`MT1`, `MT2`, ... for each polyline of the image; lines of one instance share the number, given as they come."""
    numbers: dict[tuple[int, str], int] = {}
    return [f"MT{numbers.setdefault(_key(line, i), len(numbers) + 1)}" for i, line in enumerate(annotation.polylines)]


def _key(line: Polyline, place: int) -> tuple[int, str]:
    """An instance, a track and a line of the same name are different things, and so are two lines of one id."""
    if line.instance_id:
        return 0, line.instance_id
    return (1, line.track_id) if line.track_id else (2, str(place))
