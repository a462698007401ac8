"""A ZIP within the archive, read back by zipfile."""

import io
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exportd.formats import package as module
from exportd.formats.package import package

contents = st.lists(st.lists(st.binary(max_size=300), max_size=4), max_size=4)


@given(contents, st.booleans())
def test_every_part_is_read_back(parts: list[list[bytes]], wide: bool) -> None:
    expected = module.LIMIT32 if wide else 0
    data = b"".join(package((f"xl/{n}.xml", expected, pieces) for n, pieces in enumerate(parts)))
    with zipfile.ZipFile(io.BytesIO(data)) as found:
        assert found.testzip() is None
        assert found.namelist() == [f"xl/{n}.xml" for n in range(len(parts))]
        assert [found.read(name) for name in found.namelist()] == [b"".join(pieces) for pieces in parts]


def test_a_part_that_is_expected_to_be_large_has_wide_sizes_and_no_other() -> None:
    data = b"".join(package([("a", module.LIMIT32, [b"x"]), ("b", 1, [b"y"])]))
    with zipfile.ZipFile(io.BytesIO(data)) as found:
        assert [entry.extract_version for entry in found.infolist()] == [45, 20]


def test_a_part_that_outgrows_its_header_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX32", 1000)
    with pytest.raises(ValueError, match="expected to be small"):
        list(package([("a", 1, [bytes(1001)])]))
