"""Labels of open lines."""

import numpy as np

from exportd.core.dataset import Polyline
from exportd.formats.instances import labels


def line(instance: str | None = None, track: str | None = None, name: str | None = None) -> Polyline:
    return Polyline("l", np.array([(0.0, 0.0), (1.0, 1.0)]), instance_id=instance, track_id=track, name=name)


def test_microtubules_are_numbered_as_their_instances_occur() -> None:
    lines = [line("b"), line("a"), line("b"), line(), line(track="t"), line(), line(track="t")]
    assert labels("microtubules", lines) == ["MT1", "MT2", "MT1", "MT3", "MT4", "MT5", "MT4"]


def test_an_instance_counts_before_its_track() -> None:
    assert labels("microtubules", [line("a", "t"), line("b", "t")]) == ["MT1", "MT2"]


def test_elsewhere_the_id_is_the_label_and_else_the_name() -> None:
    assert labels("sperm", [line("sperm_1", name="n"), line(name="n"), line(track="t"), line()]) == [
        "sperm_1",
        "n",
        "t",
        "",
    ]
