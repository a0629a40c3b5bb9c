"""The page of benchmarks: one section is written anew, the others stay."""

from __future__ import annotations

from experiments.benchmarks.benchmark import Figure, Goal
from experiments.benchmarks.page import updated_page

WORLD = [Figure("clip", 0.94, "of pictures", goal=Goal(">=", 0.9))]
TABLES = [
    Figure("error_pct", 4.0, "of the sum", spread=(3.0, 5.0), goal=Goal("<=", 3)),
    Figure("rows", 53, "there are"),
]


def test_a_section_says_what_was_measured_where_and_by_which_command() -> None:
    page = updated_page("", {"tables": TABLES}, quick=True)
    assert page.startswith("# Benchmarks\n\n## tables\n\n`evounet bench tables --quick`, 20")
    assert "| `error_pct` | 4 | 3 to 5 | <= 3 | **no** | of the sum |\n" in page
    assert "| `rows` | 53 |  |  |  | there are |\n" in page


def test_other_sections_stay_as_they_are() -> None:
    both = updated_page("", {"world": WORLD, "tables": TABLES}, quick=False)
    better = [Figure("clip", 0.95, "of pictures", goal=Goal(">=", 0.9))]
    after = updated_page(both, {"world": better}, quick=False)
    assert after == both.replace("| 0.94 |", "| 0.95 |")
    assert updated_page(both, {}, quick=False) == both
    assert both.index("## tables") < both.index("## world")
