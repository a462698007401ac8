"""All formats of an archive tell of the same images and objects, but for what its report says is left out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from exportd.verifying.container import Contents
from exportd.verifying.counts import FORMATS, Count, Format
from exportd.verifying.findings import Damaged, Findings, some
from exportd.verifying.papers import METADATA, Told
from exportd.verifying.sheets import SHEET_ROWS, TABLES, Rows

IMAGES, VISUALIZATIONS, VIZ_END = "images/", "visualizations/", "_viz.png"


@dataclass(slots=True)
class Agreement:
    """What each place of the archive has, by the stems of the images: some bytes for each image and format."""

    contents: Contents
    told: Told
    findings: Findings
    names: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Whole names by stem, and who says so."""
    counts: dict[str, dict[str, Count]] = field(default_factory=dict)
    """By the id of the format, then by stem."""
    stems: dict[str, str] = field(default_factory=dict)
    """All that there are, and a place that has it."""

    def check(self, expected: tuple[int, int] | None) -> None:
        """`expected`: images and polygons that the documentation tells."""
        originals = self._originals()
        for row in FORMATS:
            if row.is_in(self.contents):
                self._read(row)
        self._visualizations()
        if originals:
            self._missing(IMAGES, originals, 0)
        rows = [row for row in FORMATS if row.id in self.counts]
        for row in rows:
            if not row.sparse:
                self._missing(row.place, self.counts[row.id], self.told.images(row.name))
        reference = self._reference(rows)
        for row in rows:
            self._objects(row, reference)
        self._metrics(reference)
        if expected is not None:
            self._totals(expected, reference, rows)

    # --- what is there ---

    def _originals(self) -> dict[str, None]:
        found: dict[str, None] = {}
        for path in self.contents.paths(IMAGES):
            name = path[len(IMAGES) :]
            self._named(name, IMAGES)
            found[stem_of(name)] = None
        if found:
            self.findings.checked(f"{IMAGES} has {_many(len(found), 'image')}.")
        return found

    def _read(self, row: Format) -> None:
        found: dict[str, Count] = {}
        try:
            for count in row.read(self.contents):
                stem = stem_of(count.image) if row.names else count.image
                if stem in found:
                    raise Damaged(row.place, f"it has {count.image} twice")
                found[stem] = count
        except Damaged as damage:
            if damage.fault not in self.findings.faults and damage.fault.sentence != "it cannot be read":
                self.findings.fault(*damage.fault)
            self.findings.checked(f"{row.place} was not compared with the rest: {damage.fault.place} is damaged.")
            return
        for stem, count in found.items():
            if row.names:
                self._named(count.image, row.place)
            self.stems.setdefault(stem, row.place)
        self.counts[row.id] = found
        objects = sum(count.objects for count in found.values())
        self.findings.checked(f"{row.place} has {_many(objects, 'object')} in {_many(len(found), 'image')}.")

    def _named(self, name: str, place: str) -> None:
        stem = stem_of(name)
        self.stems.setdefault(stem, place)
        known, where = self.names.setdefault(stem, (name, place))
        if known != name:
            self.findings.fault(place, f"it calls an image {name} that {where} calls {known}")

    def _visualizations(self) -> None:
        paths = self.contents.paths(VISUALIZATIONS, VIZ_END)
        if not paths:
            return
        found = {path[len(VISUALIZATIONS) : -len(VIZ_END)] for path in paths}
        if self.stems and (strangers := sorted(found - self.stems.keys())):
            self.findings.fault(VISUALIZATIONS, f"it has images that are nowhere else: {some(strangers)}")
        for stem in found:
            self.stems.setdefault(stem, VISUALIZATIONS)
        self._missing(VISUALIZATIONS, dict.fromkeys(found), self.told.images("Visualizations"))
        self.findings.checked(f"{VISUALIZATIONS} has {_many(len(found), 'image')}.")

    # --- how it agrees ---

    def _missing(self, place: str, found: Mapping[str, object], told: int) -> None:
        missing = [stem for stem in self.stems if stem not in found]
        if len(missing) > told:
            where = self.stems[missing[0]]
            more = f"; the report tells of {told}" if told else ""
            self.findings.fault(place, f"it lacks images that {where} has: {some(missing)}{more}")

    def _reference(self, rows: Iterable[Format]) -> dict[str, tuple[int, str, bool]]:
        """For each image how many objects there are, who says so, and whether that is all."""
        best: dict[str, tuple[int, str, bool]] = {}
        for row in rows:
            for stem, count in self.counts[row.id].items():
                known = best.get(stem)
                if known is None or (count.objects > known[0] and not known[2]):
                    best[stem] = (count.objects, row.place, row.exact)
        return best

    def _objects(self, row: Format, reference: Mapping[str, tuple[int, str, bool]]) -> None:
        missing, differing, where = 0, [], ""
        exact = True
        for stem, (most, place, all_of_them) in reference.items():
            count = self.counts[row.id].get(stem)
            if count is None and not row.sparse:
                continue
            objects = 0 if count is None else count.objects
            exact = exact and all_of_them
            if objects > most:
                self.findings.fault(row.place, f"it has {objects} objects in {stem}, {place} has {most}")
            elif objects < most:
                missing += most - objects
                differing.append(f"{stem} ({objects} of {most})")
                where = where or place
        told = self.told.objects(row.name)
        if missing > told:
            self.findings.fault(
                row.place,
                f"{_many(missing, 'object')} that {where} has {'is' if missing == 1 else 'are'} not in it, "
                f"and the report tells of {told or 'none'}: {some(differing)}",
            )
        elif exact and missing < told:
            self.findings.fault(row.place, f"the report tells of {told} objects left out, but {missing} are missing")

    def _totals(
        self, expected: tuple[int, int], reference: Mapping[str, tuple[int, str, bool]], rows: list[Format]
    ) -> None:
        images, polygons = expected
        if len(self.stems) > images:
            self.findings.fault(METADATA, f"it counts {images} images, the archive has {len(self.stems)}")
        if not rows:
            return
        if self.stems and len(self.stems) < images and not any(self.told.images(row.name) for row in rows):
            self.findings.fault(METADATA, f"it counts {images} images, the archive has {len(self.stems)}")
        total = sum(most for most, _, _ in reference.values())
        left_out = min(self.told.objects(row.name) for row in rows)
        lacking = any(self.told.images(row.name) for row in rows)
        if total > polygons or (total < polygons - left_out and not lacking):
            self.findings.fault(METADATA, f"it counts {polygons} polygons, the formats have {total}")
        self.findings.checked(f"{METADATA} counts {_many(images, 'image')} and {_many(polygons, 'polygon')}.")

    # --- metrics ---

    def _metrics(self, reference: Mapping[str, tuple[int, str, bool]]) -> None:
        tables = dict(self._tables())
        if not tables:
            return
        columns = next((rows.columns for rows in tables.values() if rows.columns is not None), None)
        of_objects = any(rows.of_objects for rows in tables.values())
        totals = {path: rows.total for path, rows in tables.items() if rows.total < SHEET_ROWS - 1}
        if len(set(totals.values())) > 1:
            told = ", ".join(f"{path} {count}" for path, count in totals.items())
            self.findings.fault("metrics/", f"its tables differ in their rows: {told}")
        for path, rows in tables.items():
            if rows.images is not None and columns is not None:
                self._rows(path, rows, reference, of_objects)

    def _tables(self) -> Iterator[tuple[str, Rows]]:
        for path, read in TABLES:
            if path not in self.contents.sums:
                continue
            try:
                rows = read(self.contents, path)
            except Damaged as damage:
                self.findings.fault(*damage.fault)
                continue
            self.findings.checked(f"{path} has {_many(rows.total, 'row')}.")
            yield path, rows

    def _rows(self, path: str, rows: Rows, reference: Mapping[str, tuple[int, str, bool]], of_objects: bool) -> None:
        counts = {stem_of(name): count for name, count in (rows.images or {}).items()}
        if self.stems and (strangers := sorted(counts.keys() - self.stems.keys())):
            self.findings.fault(path, f"it has images that are nowhere else: {some(strangers)}")
        if not of_objects:
            return
        for stem, (most, place, exact) in reference.items():
            count, complete = counts.get(stem, 0), self._complete(stem) if exact else None
            if complete is not None and count != complete:
                self.findings.fault(path, f"it has {count} rows for {stem}, {place} has {complete} complete objects")
            elif complete is None and count > most and not self._left_out():
                self.findings.fault(path, f"it has {count} rows for {stem}, {place} has {most} objects")

    def _complete(self, stem: str) -> int | None:
        """Complete objects of an image, as a format tells them that has all objects."""
        found = (self.counts[row.id].get(stem) for row in FORMATS if row.exact and row.id in self.counts)
        return next((count.complete for count in found if count is not None), None)

    def _left_out(self) -> bool:
        """Whether every format that is there has left something out, so that metrics may have more."""
        return all(self.told.objects(row.name) for row in FORMATS if row.id in self.counts)


def stem_of(name: str) -> str:
    """What the members of an image are called."""
    return name.rpartition(".")[0] or name


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
