"""What counts as too much."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.performance.figures import Figures, Report, complaints, summary

BUDGET = Figures(instructions=1000, calls=30, tasks=0.01, cpu=20, writes=1)
BUDGETS = Report({"send": BUDGET}, {"idle": 2000}, "3.11")


def report(**changes: float) -> Report:
    return replace(BUDGETS, paths={"send": replace(BUDGET, **changes)})


def test_what_a_budget_says_is_allowed() -> None:
    assert not complaints(BUDGETS, BUDGETS)


@pytest.mark.parametrize(
    ("kind", "allowed", "excessive"),
    [
        ("instructions", 1199, 1201),
        ("calls", 35.9, 36.1),
        ("tasks", 0.11, 1.01),
        ("cpu", 29.9, 30.1),
        ("writes", 1, 2),
    ],
)
def test_more_than_the_limit_is_too_much(kind: str, allowed: float, excessive: float) -> None:
    assert not complaints(report(**{kind: allowed}), BUDGETS)
    assert list(complaints(report(**{kind: excessive}), BUDGETS)) == [f"send: {kind}"]


def test_memory_has_a_limit() -> None:
    grown = replace(BUDGETS, memory={"idle": 2401})
    assert list(complaints(grown, BUDGETS)) == ["idle: memory"]


def test_another_python_may_differ_a_little() -> None:
    differing = replace(report(instructions=1499), python="3.12")
    assert not complaints(differing, BUDGETS)
    slower = replace(report(instructions=1501), python="3.12")
    assert list(complaints(slower, BUDGETS)) == ["send: instructions"]


def test_a_budget_far_above_its_figure_guards_nothing() -> None:
    (complaint,) = complaints(report(instructions=600), BUDGETS).values()
    assert complaint == "600 is far below the budget, 1000: lower that"


def test_a_path_without_a_budget_is_noticed() -> None:
    fewer = replace(BUDGETS, memory={})
    assert set(complaints(BUDGETS, fewer)) == {"idle: memory"}
    assert set(complaints(fewer, BUDGETS)) == {"idle: memory"}


def test_budgets_are_the_most_that_was_counted_and_the_median_of_the_time() -> None:
    reports = [
        BUDGETS,
        replace(report(instructions=900, writes=3, cpu=33), memory={"idle": 2100}),
        report(cpu=21),
    ]
    assert summary(reports) == Report(
        {"send": replace(BUDGET, writes=3, cpu=21)}, {"idle": 2100}, "3.11"
    )
