"""The platform's polygons text -> cleaned values. One faulty entry costs only itself, and is told.

Repaired: a closing vertex and vertices that repeat the one before go; numbers written as text are read. Left out: what
has no usable coordinates or no area. Vertices outside of the image stay as they are: formats cut where they must.
Everything per vertex is one numpy operation over all entries of the image, so that 100,000 vertices take milliseconds.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeGuard

import numpy as np
import shapely
from numpy.typing import NDArray

from exportd.core.dataset import Annotation, Points, Polygon, Polyline
from exportd.core.geometry import Indices, Rings, Shapes, areas, boxes, shapes, starts_of
from exportd.core.jsonlist import NoList, items

HOLE_INSIDE = 0.99
"""Share of a hole's area that must lie in its outline (SPEC §6): tracing rounds, so not all of it."""

OUTLINE_LARGER = 1.05
"""How much larger than a hole its outline must be (SPEC §6): what fills a hole is an object of its own."""

FARTHEST = 1e7
"""Pixels from the origin. No image is that large; what lies beyond is a fault, and its square would lose digits."""

OUTSIDE_BY = 0.5
"""Pixels that a vertex may lie outside of the image before it is worth a word: tracing rounds to pixel centres."""

BATCH = 250
"""Rings between two looks for a cancel."""

PART_CLASSES = frozenset({"core", "head", "midpiece", "tail"})

# One way to read each digit, or a long text that is no number after all would be tried with the square of its length.
_NUMBER = re.compile(r"\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)


class _Fault(Enum):
    """What can be wrong, as sentences for one and for several; told in this order."""

    NOT_A_POLYGON = ("1 entry is no polygon and was left out", "{} entries are no polygons and were left out")
    NO_POINTS = (
        "1 polygon has no list of points and was left out",
        "{} polygons have no list of points and were left out",
    )
    BAD_NUMBER = (
        "1 polygon has a coordinate that is no usable number and was left out",
        "{} polygons have coordinates that are no usable numbers and were left out",
    )
    FEW_POINTS = (
        "1 polygon has fewer than 3 points and was left out",
        "{} polygons have fewer than 3 points and were left out",
    )
    SHORT_LINE = (
        "1 polyline has fewer than 2 points and was left out",
        "{} polylines have fewer than 2 points and were left out",
    )
    FLAT = ("1 polygon has no area and was left out", "{} polygons have no area and were left out")
    ORPHAN = (
        "1 hole lies in no external polygon and was left out",
        "{} holes lie in no external polygon and were left out",
    )
    TEXT_NUMBER = (
        "1 polygon has coordinates written as text, which were read as numbers",
        "{} polygons have coordinates written as text, which were read as numbers",
    )
    UNKNOWN_TYPE = (
        "1 polygon has no known type and counts as external",
        "{} polygons have no known type and count as external",
    )
    UNKNOWN_PART = (
        "1 polygon has an unknown part class, which was dropped",
        "{} polygons have an unknown part class, which was dropped",
    )
    OUTSIDE = (
        "1 polygon reaches beyond the image; formats that hold only what is inside cut it there",
        "{} polygons reach beyond the image; formats that hold only what is inside cut them there",
    )

    def told(self, count: int) -> str:
        one, several = self.value
        return str(one) if count == 1 else str(several).format(count)


@dataclass(slots=True)
class _Draft:
    """An entry with its fields read; `row` is the place of its vertices among those that are kept."""

    index: int
    entry: dict[str, Any]
    line: bool
    internal: bool
    row: int = -1

    @property
    def least(self) -> int:
        return 2 if self.line else 3


def parse_annotation(
    text: str | bytes | None,
    width: int | None,
    height: int | None,
    *,
    model: str | None = None,
    threshold: float | None = None,
    confidence: float | None = None,
    check: Callable[[], None] = lambda: None,
) -> Annotation:
    """The annotation of one image from its JSON text; `width` and `height` are pixels, None or 0 where unknown.

    None as text means that the image was never segmented. Text that is no JSON list gives an annotation without
    polygons and one warning. Raises nothing of its own; `check` is called every few milliseconds and may raise to stop it.
    """
    if text is None:
        return Annotation(model=model, threshold=threshold, confidence=confidence)
    faults: Counter[_Fault] = Counter()
    try:
        drafts, rings = _read(text, faults, check)
    except NoList:
        warning = "its polygons cannot be read (no JSON list) and were left out"
        return Annotation((), (), (warning,), True, model, threshold, confidence)
    holes = _paired(drafts, rings, faults, check)
    externals = [draft for draft in drafts if not (draft.line or draft.internal)]
    lines = [draft for draft in drafts if draft.line]
    kept = [*externals, *lines, *(draft for draft in drafts if draft.index in holes.used)]
    check()
    faults[_Fault.OUTSIDE] = _outside([rings[draft.row] for draft in kept], width, height)
    check()
    faults[_Fault.UNKNOWN_PART] = sum(_unknown_part(draft.entry) for draft in [*externals, *lines])
    polygons = []
    for number, draft in enumerate(externals, start=1):
        if number % BATCH == 0:
            check()
        polygons.append(_polygon(draft, number, rings, holes.of.get(draft.index, [])))
    return Annotation(
        tuple(polygons),
        tuple(_polyline(draft, rings) for draft in lines),
        tuple(fault.told(faults[fault]) for fault in _Fault if faults[fault]),
        True,
        model,
        threshold,
        confidence,
    )


# --- entries to vertices ------------------------------------------------------------------------------------------------


def _read(text: str | bytes, faults: Counter[_Fault], check: Callable[[], None]) -> tuple[list[_Draft], list[Points]]:
    """The drafts that are usable and the vertices that their `row` leads to. Raises `NoList`."""
    drafts, rings = list[_Draft](), list[Points]()
    index = 0
    for entries in items(text):
        check()
        found, points = _rings(_drafts(entries, index, faults), faults, check)
        index += len(entries)
        check()
        found = _with_area(found, points, faults)
        for draft in found:
            draft.row += len(rings)
        drafts += found
        rings += points
    return drafts, rings


def _drafts(entries: Iterable[Any], first: int, faults: Counter[_Fault]) -> list[_Draft]:
    drafts = []
    for index, entry in enumerate(entries, start=first):
        if not isinstance(entry, dict):
            faults[_Fault.NOT_A_POLYGON] += 1
        elif not isinstance(entry.get("points"), list):
            faults[_Fault.NO_POINTS] += 1
        else:
            line = entry.get("geometry") == "polyline"
            drafts.append(_Draft(index, entry, line, not line and entry.get("type") == "internal"))
    return drafts


def _rings(
    drafts: Iterable[_Draft], faults: Counter[_Fault], check: Callable[[], None]
) -> tuple[list[_Draft], list[Points]]:
    """The drafts whose vertices are usable, and these vertices, cleaned; a draft's `row` says which are its own."""
    read, flat, counts = [], list[float](), list[int]()
    for draft in drafts:
        # Taken out: of all that an entry holds they are most, and they are not needed again.
        numbers = _numbers(draft.entry.pop("points"), lambda: faults.update([_Fault.TEXT_NUMBER]))
        if numbers is None:
            faults[_Fault.BAD_NUMBER] += 1
        elif len(numbers) < 2 * draft.least:
            faults[_few(draft)] += 1
        else:
            read.append(draft)
            flat += numbers
            counts.append(len(numbers) // 2)
    check()
    points = np.array(flat, np.float64).reshape(-1, 2)
    rings = Rings(points, starts_of(np.array(counts, np.intp)))
    near = np.abs(boxes(rings)).max(axis=1, initial=0) <= FARTHEST
    cleaned = _cleaned(rings, np.array([not draft.line for draft in read], bool))
    usable = []
    for draft, is_near, row in zip(read, near.tolist(), range(len(read)), strict=True):
        if not is_near:
            faults[_Fault.BAD_NUMBER] += 1
        elif len(cleaned[row]) < draft.least:
            faults[_few(draft)] += 1
        else:
            draft.row = row
            usable.append(draft)
            if not draft.line and draft.entry.get("type") not in ("external", "internal"):
                faults[_Fault.UNKNOWN_TYPE] += 1
    return usable, cleaned


def _few(draft: _Draft) -> _Fault:
    return _Fault.SHORT_LINE if draft.line else _Fault.FEW_POINTS


def _numbers(points: list[Any], text_seen: Callable[[], None]) -> list[float] | None:
    """x, y, x, y, ... or None when one of them is no number. `text_seen` is called once if some were text."""
    try:
        numbers = [number for point in points for number in (point["x"], point["y"])]
    except (TypeError, KeyError):
        return None
    kinds = set(map(type, numbers))
    if kinds <= {int, float}:
        return numbers
    if not (kinds <= {int, float, str} and all(type(n) is not str or _NUMBER.fullmatch(n) for n in numbers)):
        return None
    text_seen()
    return [float(n) for n in numbers]


def _cleaned(rings: Rings, closed: NDArray[np.bool_]) -> list[Points]:
    """Without vertices that repeat the one before; closed rings also without a last one that repeats the first."""
    keep = np.ones(len(rings.points), bool)
    keep[1:] = (rings.points[1:] != rings.points[:-1]).any(axis=1)
    keep[rings.starts] = True
    rings = _only(rings, keep)
    closing = closed & (rings.counts > 1) & (rings.points[rings.ends] == rings.points[rings.starts]).all(axis=1)
    keep = np.ones(len(rings.points), bool)
    keep[rings.ends[closing]] = False
    rings = _only(rings, keep)
    rings.points.setflags(write=False)  # what is handed out are views
    return rings.each()


def _only(rings: Rings, keep: NDArray[np.bool_]) -> Rings:
    """The vertices to keep; each ring keeps at least one."""
    counts = np.add.reduceat(keep, rings.starts, dtype=np.intp) if len(rings.starts) else rings.starts
    return Rings(rings.points[keep], starts_of(counts))


def _with_area(drafts: list[_Draft], points: list[Points], faults: Counter[_Fault]) -> list[_Draft]:
    """Without rings whose vertices lie on a line. A figure of eight has an area, although its shoelace sum may be 0."""
    closed = [draft for draft in drafts if not draft.line]
    rings = Rings.of([points[draft.row] for draft in closed])
    extents = boxes(rings)
    span = (extents[:, 2:] - extents[:, :2]).sum(axis=1)
    doubtful = np.flatnonzero(areas(rings) <= 1e-9 * span**2)
    covered = shapely.area(shapes(Rings.of([points[closed[i].row] for i in doubtful])))
    # What rounding leaves of a line: about the last digit of a coordinate times the length.
    flat = {closed[i].index for i in doubtful[covered <= 1e-12 * span[doubtful] ** 2]}
    faults[_Fault.FLAT] += len(flat)
    return [draft for draft in drafts if draft.index not in flat]


def _outside(rings: Sequence[Points], width: int | None, height: int | None) -> int:
    if not (width and height):
        return 0
    low_x, low_y, high_x, high_y = boxes(Rings.of(rings)).T
    outside = np.minimum(low_x, low_y) < -OUTSIDE_BY
    outside |= (high_x > width + OUTSIDE_BY) | (high_y > height + OUTSIDE_BY)
    return int(outside.sum())


# --- which hole belongs to which outline (SPEC §6) ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Holes:
    """Holes by the entry of their outline, and the entries of all of them."""

    of: dict[int, list[Points]]
    used: frozenset[int]


def _paired(
    drafts: Sequence[_Draft], rings: list[Points], faults: Counter[_Fault], check: Callable[[], None]
) -> _Holes:
    outer = [draft for draft in drafts if not (draft.line or draft.internal)]
    inner = [draft for draft in drafts if draft.internal]
    of: dict[int, list[Points]] = {}
    used = []
    owners = hole_owners([rings[draft.row] for draft in outer], [rings[draft.row] for draft in inner], check)
    for hole, owner in zip(inner, owners, strict=True):
        if owner is None:
            faults[_Fault.ORPHAN] += 1
        else:
            of.setdefault(outer[owner].index, []).append(rings[hole.row])
            used.append(hole.index)
    return _Holes(of, frozenset(used))


def hole_owners(
    outer: Sequence[Points], inner: Sequence[Points], check: Callable[[], None] = lambda: None
) -> list[int | None]:
    """For each inner ring the outer one whose hole it is: the one rule of SPEC §6, for every format and metric.

    The smallest that holds `HOLE_INSIDE` of its area and is more than `OUTLINE_LARGER` times as large; of equals the first.
    """
    if not (outer and inner):
        return [None] * len(inner)
    outlines, holes = _shapes(outer, check), _shapes(inner, check)
    sizes, hole_sizes = shapely.area(outlines), shapely.area(holes)
    tree = shapely.STRtree(outlines)
    check()
    shapely.prepare(outlines)  # one outline is asked about many holes
    owners = []
    for hole, size in zip(holes, hole_sizes.tolist(), strict=True):
        check()
        near: Indices = np.sort(tree.query(hole))
        near = near[sizes[near] > OUTLINE_LARGER * size]
        near = near[np.argsort(sizes[near], kind="stable")]
        owners.append(next((int(i) for i in near if _holds(outlines, i, hole, size)), None))
    return owners


def _shapes(rings: Sequence[Points], check: Callable[[], None]) -> Shapes:
    made = []
    for begin in range(0, len(rings), BATCH):
        check()
        made.append(shapes(Rings.of(rings[begin : begin + BATCH])))
    return np.concatenate(made)


def _holds(outlines: Shapes, i: np.intp, hole: shapely.Geometry, size: float) -> bool:
    """The two quick questions spare most of the intersections, which cost time by the vertices of the outline."""
    outline = outlines[i]
    if shapely.covers(outline, hole):
        return True
    if not shapely.intersects(outline, hole):
        return False
    return bool(shapely.intersection(outline, hole).area >= HOLE_INSIDE * size)


# --- fields -------------------------------------------------------------------------------------------------------------


def _polygon(draft: _Draft, number: int, rings: list[Points], holes: Sequence[Points]) -> Polygon:
    entry = draft.entry
    return Polygon(
        id=_text(entry.get("id")) or f"p{draft.index}",
        number=number,
        points=rings[draft.row],
        holes=tuple(holes),
        part_class=_part(entry),
        instance_id=_text(entry.get("instanceId")),
        confidence=_finite(entry.get("confidence")),
        complete=entry.get("complete") is not False,
    )


def _polyline(draft: _Draft, rings: list[Points]) -> Polyline:
    entry = draft.entry
    return Polyline(
        id=_text(entry.get("id")) or f"p{draft.index}",
        points=rings[draft.row],
        part_class=_part(entry),
        instance_id=_text(entry.get("instanceId")),
        track_id=_text(entry.get("trackId")),
        name=_text(entry.get("name")),
        confidence=_finite(entry.get("confidence")),
    )


def _is_number(value: object) -> TypeGuard[int | float]:
    return type(value) in (int, float)  # a boolean is an int to Python, and no number to a person


def _text(value: object) -> str | None:
    """Text and numbers as text; anything else, and what is empty, is no name for something."""
    return str(value) if (isinstance(value, str) and value) or _is_number(value) else None


def _finite(value: object) -> float | None:
    return float(value) if _is_number(value) else None  # JSON has no infinity and no NaN


def _part(entry: dict[str, Any]) -> str | None:
    part = entry.get("partClass")
    return part if isinstance(part, str) and part in PART_CLASSES else None


def _unknown_part(entry: dict[str, Any]) -> bool:
    return entry.get("partClass") is not None and _part(entry) is None
