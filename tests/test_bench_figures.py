"""What the bench says of its samples is right: figures, verdicts, and what it tells of them."""

import math

import pytest
from benches.figures import Goal, Row, Sample, exponent, of, quantile, ratio, spread
from benches.telling import Result, document, summary, table


def goal(**bounds: float) -> Goal:
    return Goal("× the speed", of("ours"), **bounds)


@pytest.mark.parametrize(
    ("bounds", "value", "met", "missed_by"),
    [
        ({"at_least": 2.0}, 2.0, True, 0.0),
        ({"at_least": 2.0}, 1.5, False, 0.25),
        ({"at_most": 2.0}, 2.0, True, 0.0),
        ({"at_most": 2.0}, 3.0, False, 0.5),
    ],
)
def test_a_goal_is_met_up_to_its_bound(bounds: dict[str, float], value: float, met: bool, missed_by: float) -> None:
    verdict = goal(**bounds).judge({"ours": [value]})
    assert (verdict.met, verdict.missed_by) == (met, missed_by)


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    assert goal(at_least=2.0).judge({}).met is None
    assert goal(at_least=2.0).judge({}).missed_by == 0


def test_a_goal_looks_at_the_median_so_one_disturbed_round_does_not_decide() -> None:
    assert goal(at_most=2.0).judge({"ours": [1.0, 1.0, 90.0]}).met


def test_ratios_are_taken_round_by_round() -> None:
    """Both sides of the second round were disturbed: of all that is told, only ratios between rounds would show it."""
    assert list(ratio("theirs", "ours")({"theirs": [2.0, 20.0], "ours": [1.0, 10.0]})) == [2.0, 2.0]


@pytest.mark.parametrize(("share", "found"), [(0.5, 50), (0.99, 99), (1, 100)])
def test_quantiles_are_values_that_were_there(share: float, found: float) -> None:
    assert list(quantile("ours", share)({"ours": [float(n) for n in range(100, 0, -1)]})) == [found]


@pytest.mark.parametrize("power", [0.5, 1.0, 1.5, 2.0])
def test_the_exponent_of_growth_is_found_whatever_is_fixed(power: float) -> None:
    times = {f"images {n}": [3.0 + 0.01 * (n - 10) ** power] for n in (10, 100, 1000, 10_000)}
    assert list(exponent("images ")(times)) == [pytest.approx(power)]


def test_growth_that_noise_hides_is_told_as_a_number_all_the_same() -> None:
    assert exponent("n ")({"n 1": [2.0], "n 10": [2.0], "n 100": [1.0]}) == [0.0]
    (found,) = exponent("n ")({"n 1": [2.0], "n 10": [1.0], "n 100": [3.0]})
    assert math.isfinite(found)
    assert found > 2


def test_two_sizes_have_no_exponent() -> None:
    assert exponent("n ")({"n 1": [1.0], "n 10": [2.0]}) == []


def test_the_spread_of_many_values_leaves_out_the_quarters_at_the_ends() -> None:
    assert spread([1.0, 2.0, 3.0]) == (1.0, 2.0, 3.0)
    assert spread([0.0, 1.0, 2.0, 3.0, 100.0]) == (1.0, 2.0, 3.0)


def row() -> Row:
    return Row(
        "speed", "how fast", (goal(at_least=2.0), Goal("seconds", of("theirs"), at_most=1.0)), lambda _: iter(())
    )


def measured(*samples: Sample) -> Result:
    result = Result(row())
    for sample in samples:
        result.add(sample)
    return result


def test_the_table_says_what_is_met_and_by_how_much_the_rest_is_missed() -> None:
    text = table(measured(Sample("ours", 1.0, "/s")))
    assert "MISSED by 50%" in text
    assert "not measured" in text
    assert "1 /s" in text
    assert "<= 1: 2 (1 to 3)" in table(measured(*(Sample("theirs", value) for value in (1.0, 2.0, 3.0))))


def test_the_summary_counts_what_was_not_measured_as_that() -> None:
    both = [measured(Sample("ours", 3.0), Sample("theirs", 2.0)), measured(Sample("ours", 3.0))]
    assert summary(both) == "2 met, 1 missed, 1 not measured, 0 rows broken"


def test_a_row_that_broke_is_told_with_what_it_had() -> None:
    result = measured(Sample("ours", 1.0))
    result.broken = "it did not start"
    assert "BROKEN: it did not start" in table(result)
    assert document([result], {})["rows"]["speed"]["broken"] == "it did not start"


def test_the_document_holds_a_thousand_single_values_at_most_and_counts_them_all() -> None:
    told = document([measured(*(Sample("ours", float(n)) for n in range(2500)))], {"quick": True})
    side = told["rows"]["speed"]["samples"]["ours"]
    assert (side["n"], len(side["values"]) <= 1000, side["median"]) == (2500, True, 1249.5)
    assert told["quick"] is True
