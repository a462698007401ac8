"""What a table of metrics is, whoever fills it and whatever it is written as: columns with a kind, values in blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray


class Kind(StrEnum):
    """What the values of a column are."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"


@dataclass(frozen=True, slots=True)
class Column:
    """A column. `header` is what people read, with the unit: `Area (px²)`."""

    header: str
    kind: Kind = Kind.NUMBER
    meaning: str = ""
    """Definition or formula, for the guide that goes with the table."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table: a sheet of the workbook, and a file of its own in the other forms."""

    name: str
    """Of the sheet, at most 31 characters."""
    file: str
    """Stem of the file in `metrics/`; `metrics` for the main table, which is the first."""
    columns: tuple[Column, ...]
    summarised: bool = False
    """Whether the Summary sheet tells count, mean, SD, median, quartiles, minimum and maximum of its numbers."""


Values = NDArray[np.float64] | NDArray[np.int64] | Sequence[str | int | float | None]
"""Of one column. NaN and None are values that do not exist: empty in every form, never 0."""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Some rows of a table, column by column; all columns have the same length."""

    table: Table
    values: tuple[Values, ...]

    @property
    def size(self) -> int:
        """Bytes that it takes, about."""
        return sum(8 * len(values) for values in self.values)
