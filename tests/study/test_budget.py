"""Budgets as people write them, and the clock that counts them down."""

from __future__ import annotations

import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.errors import BudgetError
from thalweg.study.budget import SHORTEST_SECONDS, Budget, Clock, parse_seconds, process_start


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90), ("90s", 90), ("5m", 300), ("1h30m", 5400), ("1h 30m", 5400), ("2d", 172_800),
        ("0.5h", 1800), (" 10 MIN ", 600), ("1.5m", 90), (45, 45), (12.5, 12.5), ("20sec", 20),
        ("2hours", 7200), ("1 minute 30 seconds", 90), ("1 day", 86_400), ("5m3", 303),
    ],
)  # fmt: skip
def test_durations(text, seconds):
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "  ", "abc", "5x", "m5", "1..5s", "-5", "-5m", "five", "1e3", "5 trials", True, "nan"],
)
def test_nonsense(text):
    with pytest.raises(BudgetError) as error:
        parse_seconds(text)
    message = str(error.value)
    assert repr(text) in message
    assert "such as 90s" in message
    assert "\n" not in message


@pytest.mark.parametrize("value", [0, 0.0, "0", "0s", -3, math.nan, math.inf])
def test_nothing_is_too_little(value):
    with pytest.raises(BudgetError, match="longer than nothing"):
        parse_seconds(value)


@given(st.integers(0, 99), st.integers(0, 59), st.integers(1, 59))
def test_parts_add_up(hours, minutes, seconds):
    assert parse_seconds(f"{hours}h{minutes}m{seconds}s") == hours * 3600 + minutes * 60 + seconds


@pytest.mark.parametrize("trials", [0, -1, 1.5, True])
def test_trials_are_whole_and_positive(trials):
    with pytest.raises(BudgetError, match="whole number from 1; got"):
        Budget.of(None, trials)


def test_too_short_to_compile():
    with pytest.raises(BudgetError, match="too short to compile"):
        Budget.of("1s")
    assert Budget.of(SHORTEST_SECONDS).seconds == SHORTEST_SECONDS


def test_budgets_in_words():
    assert Budget.of("90s").describe() == "90 s"
    assert Budget.of("90s", 5).describe() == "90 s and 5 trials"
    assert Budget.of().describe() == "the default number of trials"


def test_clock():
    clock = Clock(Budget.of("20s"), time.perf_counter() - 5)
    assert 5 <= clock.elapsed() < 6
    assert 14 < clock.left() <= 15
    assert Clock(Budget.of(None, 3)).left() == math.inf


def test_the_process_began_before_now():
    start = process_start()
    assert 0 <= time.perf_counter() - start < 24 * 3600
    assert process_start() == pytest.approx(start, abs=0.5)
