"""The alerts that docs/alerts has are about metrics that there are, and docs/operations.md says what to do."""

import re
from pathlib import Path

import pytest

from observability import names

ROOT = Path(__file__).parents[3]
RULES = (ROOT / "docs/alerts/result_cache.yml").read_text("utf-8")
PAGE = (ROOT / "docs/operations.md").read_text("utf-8")
ALERTS = re.split(r"^ {6}- alert: ", RULES, flags=re.MULTILINE)[1:]


def name_of(alert: str) -> str:
    return alert.partition("\n")[0]


def test_there_are_alerts_and_each_has_a_name_of_its_own() -> None:
    assert len({name_of(alert) for alert in ALERTS}) == len(ALERTS) > 0


@pytest.mark.parametrize("alert", ALERTS, ids=name_of)
def test_an_alert_is_about_a_metric_that_is_declared_and_says_what_it_means(alert: str) -> None:
    declared = {value for value in vars(names).values() if isinstance(value, str)}
    [expression] = re.findall(r"^ {8}expr: (.+)$", alert, re.MULTILINE)
    [metric] = re.findall(r"forebay_\w+", expression)
    assert metric in declared
    assert re.search(r"^ {10}severity: (warning|critical)$", alert, re.MULTILINE)
    assert re.search(r'^ {10}summary: ".+"$', alert, re.MULTILINE)
    assert re.search(r'^ {10}description: ".+"$', alert, re.MULTILINE)


@pytest.mark.parametrize("alert", ALERTS, ids=name_of)
def test_the_operators_page_says_what_to_do(alert: str) -> None:
    assert f"| `{name_of(alert)}` |" in PAGE
