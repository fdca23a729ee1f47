"""What operators watch Parley with fits what it tells: alert rules, dashboard, their pages."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from parley.app import Parley
from parley.backends import Backends, Place, open_keys
from parley.bus.local import LocalBus
from parley.chat.watched import OPERATIONS
from parley.clock import SystemClock
from parley.errors import ErrorCode
from parley.incidents import Incident, level_of
from parley.settings_loading import load_settings
from parley.socketio.door import Refusal as DoorRefusal
from parley.store.sqlite import SqliteStore

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy/prometheus/parley.rules.yml"
DASHBOARD = ROOT / "deploy/grafana/parley.json"
PAGE = (ROOT / "docs/operations.md").read_text("utf-8")
FORMATS = ("", "humanize", "humanize1024", "humanizeDuration", "humanizePercentage")

_DURATION = re.compile(r"([0-9]+(ms|[smhdwy]))+")
_FUNCTIONS = {
    "and", "by", "changes", "histogram_quantile", "increase", "label_values", "max", "min", "on",
    "or", "rate", "sum", "unless",
}  # fmt: skip
_SUFFIXES = ("_bucket", "_count", "_sum")


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def queries() -> Iterator[str]:
    """Every expression of the dashboard."""
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", []):
            yield target["expr"]


EXPRESSIONS = [*(str(rule["expr"]) for rule in alerts()), *queries()]


async def exposition(folder: Path) -> str:
    """What a server tells Prometheus."""
    database = {"DATABASE_TYPE": "sqlite", "DATABASE_DB": str(folder / "parley.db")}
    settings = load_settings({"JWT_SECRET_KEY": "s" * 32, **database}, dotenv=None)
    store = await SqliteStore.open(folder / "parley.db")
    try:
        backends = Backends(store, LocalBus(), await open_keys(settings), store.revocations)
        parley = Parley(settings, Place(), backends, SystemClock())
        page = await parley.metrics.exposition()
        await parley.close()
    finally:
        await store.close()
    return page.decode()


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The names of a server's metrics, each with those of its samples."""
    page = asyncio.run(exposition(tmp_path_factory.mktemp("store")))
    names = [family.name for family in text_string_to_metric_families(page)]
    return {name: {f"{name}{end}" for end in ("", "_total", *_SUFFIXES)} for name in names}


def metrics_of(expression: str) -> set[str]:
    """The metrics that an expression names."""
    bare = re.sub(r'"(\\.|[^"\\])*"', "", expression)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", " ", bare)
    bare = re.sub(r"\b(by|on)\s*\([^)]*\)", " ", bare)
    return set(re.findall(r"(?<![\w.:$])[a-z_][a-z0-9_]*", bare)) - _FUNCTIONS


def test_the_metrics_of_an_expression_are_found() -> None:
    assert metrics_of('sum by (le) (rate(a_b{c="d"}[5m])) > 20e3 * x_y') == {"a_b", "x_y"}


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_expressions_name_metrics_that_exist(
    expression: str, families: dict[str, set[str]]
) -> None:
    known = {"up", *(sample for samples in families.values() for sample in samples)}
    named = metrics_of(expression)
    assert named
    assert named <= known, named - known


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_expressions_are_balanced(expression: str) -> None:
    bare = re.sub(r'"(\\.|[^"\\])*"', "", expression)
    closing = {")": "(", "]": "[", "}": "{"}
    opened: list[str] = []
    for sign in bare:
        if sign in closing.values():
            opened.append(sign)
        elif sign in closing:
            assert opened, expression
            assert opened.pop() == closing[sign], expression
    assert not opened
    for found in re.findall(r"\[([^\]]*)\]", bare):
        assert found == "$__rate_interval" or _DURATION.fullmatch(found), found


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_expressions_name_values_that_labels_can_have(expression: str) -> None:
    known = {
        "kind": {incident.value for incident in Incident},
        "code": {code.value for code in ErrorCode},
        "operation": set(OPERATIONS),
        "reason": {refusal.value for refusal in DoorRefusal},
        "job": {"parley"},
        "instance": {"$instance"},
    }
    for label, value in re.findall(r'(\w+)\s*(?:=~?|!=|!~)\s*"([^"]*)"', expression):
        assert set(value.split("|")) <= known[label]


def test_rules_have_what_prometheus_takes_and_no_more() -> None:
    document = yaml.safe_load(RULES.read_text())
    assert document.keys() == {"groups"}
    names = [group["name"] for group in document["groups"]]
    assert len(set(names)) == len(names)
    assert all(group.keys() == {"name", "rules"} for group in document["groups"])
    found = [rule["alert"] for rule in alerts()]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_an_alert_says_what_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule.keys() - {"for"} == {"alert", "expr", "labels", "annotations"}
    assert re.fullmatch(r"Parley[A-Za-z]+", rule["alert"])
    assert _DURATION.fullmatch(rule.get("for", "1m"))
    assert rule["labels"].keys() == {"severity"}
    assert rule["labels"]["severity"] in ("critical", "warning")
    notes = rule["annotations"]
    assert notes.keys() == {"summary", "description", "runbook"}
    assert all(isinstance(note, str) and note for note in notes.values())
    for template in re.findall(r"\{\{(.*?)\}\}", notes["summary"] + notes["description"]):
        variable, _, function = map(str.strip, template.partition("|"))
        assert re.fullmatch(r"\$value|\$labels\.(instance|limit|reason)", variable)
        assert function in FORMATS
    page, _, anchor = notes["runbook"].partition("#")
    assert page == "docs/operations.md"
    assert anchor == rule["alert"].lower()


def test_each_alert_has_a_section_and_each_section_an_alert() -> None:
    part = PAGE.partition("\n### Alerts\n")[2].partition("\n### ")[0]
    assert re.findall(r"^#### (\w+)$", part, re.MULTILINE) == [rule["alert"] for rule in alerts()]


def test_the_page_has_every_metric_and_no_other(families: dict[str, set[str]]) -> None:
    rows = re.findall(r"^\| ((?:`(?:parley|process)_.*?`(?:, )?)+) \|", PAGE, re.MULTILINE)
    named = set(re.findall(r"`((?:parley|process)_\w+)", " ".join(rows)))
    told = {name if name in named else f"{name}_total" for name in families}
    assert named == told


def test_the_page_has_every_kind_of_incident() -> None:
    part = PAGE.partition("\n### Log\n")[2].partition("\n### ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| (\w+) \|", part, re.MULTILINE))
    levels = {10: "debug", 20: "info", 30: "warning", 40: "error"}
    assert rows == {incident.value: levels[level_of(incident)] for incident in Incident}


def test_every_kind_of_incident_is_told_somewhere() -> None:
    code = "".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    for incident in Incident:
        assert code.count(f"Incident.{incident.name}") >= 1 + (level_of(incident) != 30), incident


def test_warnings_and_errors_are_incidents() -> None:
    """Below the modules that start processes, whose lines no metric can count."""
    apart = {"cli.py", "supervisor.py", "watch.py", "processes.py", "serving.py", "incidents.py"}
    for path in (ROOT / "src").rglob("*.py"):
        if path.name not in apart:
            found = re.findall(r"\blog(?:ger)?\.(?:warning|error|exception)\(", path.read_text())
            assert not found, f"{path.name} warns without counting: use parley.incidents"


def test_the_dashboard_is_what_grafana_takes() -> None:
    board = json.loads(DASHBOARD.read_text())
    assert board["schemaVersion"] == 42
    assert board["id"] is None
    assert [each["name"] for each in board["templating"]["list"]] == ["datasource", "instance"]
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    rows = [panel["title"] for panel in panels if panel["type"] == "row"]
    assert rows == ["Traffic", "Latency", "Store", "Bus and nodes", "Resources", "Refusals"]
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        if panel["type"] != "row":
            assert panel["description"]
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert all(each["datasource"] == panel["datasource"] for each in panel["targets"])


def test_what_compose_mounts_for_monitoring_exists() -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    for name in ("prometheus", "grafana"):
        service = services[name]
        assert service["profiles"] == ["monitoring"]
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert not source.startswith(".") or (ROOT / source).exists()
    scraping = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    (job,) = scraping["scrape_configs"]
    assert job["job_name"] == "parley"
    assert scraping["rule_files"] == ["/etc/prometheus/parley.rules.yml"]
