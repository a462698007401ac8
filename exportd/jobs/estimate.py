"""How much room an export will need: a guess from what it has to read, made before it begins."""

from __future__ import annotations

from dataclasses import dataclass

from exportd.core.options import ExportOptions
from exportd.store.totals import Totals

TEXT_RATIO = 0.6
"""Bytes in the archive for a byte of polygon text and format, deflated; on the high side, it is an estimate of room."""

OVERLAY_RATIO = 2.0
"""Bytes of an overlay for a pixel: a noisy picture in colours has about one."""

ROW_BYTES = 500
"""Of a row of metrics, in whatever form."""

MEMBER_BYTES = 700
"""Headers, directory and manifest for a member."""

ARCHIVE_BYTES = 64 << 10
"""What every archive has besides."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What an export would hold. `bytes` errs on the high side."""

    images: int
    annotations: int
    bytes: int
    warnings: tuple[str, ...]

    @classmethod
    def of(cls, options: ExportOptions, totals: Totals, warnings: tuple[str, ...]) -> Estimate:
        """By what the export has to read."""
        return cls(totals.images, totals.annotations, _archive_bytes(options, totals), warnings)

    def as_wire(self) -> dict[str, object]:
        return {
            "images": self.images,
            "annotations": self.annotations,
            "bytes": self.bytes,
            "warnings": list(self.warnings),
        }


def _archive_bytes(options: ExportOptions, totals: Totals) -> int:
    """What the archive is likely to need at most."""
    texts = len(options.annotation_formats)
    size = ARCHIVE_BYTES + totals.images * MEMBER_BYTES * (1 + texts) + int(totals.polygon_bytes * texts * TEXT_RATIO)
    size += totals.annotations * ROW_BYTES * len(options.metrics_formats)
    if options.include_original_images:
        size += totals.image_bytes
    if options.include_visualizations:
        size += int(totals.pixels * OVERLAY_RATIO) + totals.images * MEMBER_BYTES
    return size
