"""The alerts: each speaks of metrics that the operator has, has a runbook page, and fires on what it is for."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from forge_demo.prometheus import binaries
from forge_operator import metrics
from forge_stack.model import Condition, SourceStatus, StackStatus, TransformStatus
from prometheus_client.metrics_core import Metric
from rendering import CHART, Manifest, only

RUNBOOKS = Path(__file__).parents[3] / "docs" / "runbooks"
ALERTS: list[dict[str, str]] = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())
NAMES = [alert["alert"] for alert in ALERTS]
CASES: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("alerts.yaml").read_text())
SUFFIXES = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"], "gauge": [""]}
STACK = 'namespace="team-a",stack="acme"'
MINUTES = 460
Render = Callable[..., list[Manifest]]


@pytest.fixture(scope="module")
def promtool() -> Path:
    try:
        return binaries()[1]
    except OSError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def rules(rendered: Render, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rules as Prometheus reads them."""
    sooner = {"ForgeLoadLate": {"threshold": 7200}}
    made = only(rendered(metrics={"prometheusRule": {"enabled": True, "alerts": sooner}}), "PrometheusRule")
    file = tmp_path_factory.mktemp("rules") / "rules.yaml"
    file.write_text(yaml.safe_dump(made["spec"]))
    return file


def families() -> Iterator[Metric]:
    """Every metric that the operator serves, of stacks too."""
    now = datetime.now(UTC)
    condition = Condition(type="Ready", status="True", reason="Ready", last_transition_time=now)
    status = StackStatus(
        conditions=[condition],
        sources=[SourceStatus(name="github", state="Healthy", last_success_time=now)],
        transform=TransformStatus(last_success_time=now),
    )
    # A metric with labels shows them once it has been used.
    metrics.RECONCILE_SECONDS.labels("ok")
    metrics.REQUEST_SECONDS.labels("GET")
    metrics.REQUESTS.labels("GET", "Job", "200")
    metrics.DRIFT_REPAIRS.labels("Service")
    metrics.WATCH_SILENT.labels("Job")
    yield from metrics.REGISTRY.collect()
    yield from metrics.Stacks(lambda: [(("team-a", "acme"), status)]).collect()


def exposed() -> dict[str, set[str]]:
    """Series by name, with the labels that they have (those that Prometheus adds are not among them)."""
    found = {}
    for family in families():
        labels = {label for sample in family.samples for label in sample.labels}
        for suffix in SUFFIXES[family.type]:
            found[family.name + suffix] = labels | ({"le"} if suffix == "_bucket" else set())
    return found


def test_alerts_speak_only_of_what_the_operator_serves() -> None:
    known = exposed()
    for alert in ALERTS:
        selectors = re.findall(r"\b(\w+)\{JOB([^}]*)\}", alert["expr"])
        assert selectors, alert
        # Whatever looks like a metric is a selector: none is without its job.
        assert set(re.findall(r"\bforge_\w+", alert["expr"])) <= {name for name, _ in selectors}
        for name, matchers in selectors:
            if name == "up":
                continue
            assert name in known, f"{alert['alert']}: {name}"
            assert set(re.findall(r"(\w+)=", matchers)) <= known[name], f"{alert['alert']}: {name}{{{matchers}}}"


def test_the_page_lists_every_metric_as_it_is_served() -> None:
    """The text of each is the metric's own; what the page lacks stands in the failure."""
    known = exposed()
    rows = [
        f"| `{family.name}{SUFFIXES[family.type][0] if family.type == 'counter' else ''}` | {family.type} "
        f"| {', '.join(sorted(known[family.name + SUFFIXES[family.type][0]] - {'le'}))} | {family.documentation} |"
        for family in families()
    ]
    page = (RUNBOOKS / "README.md").read_text()
    assert re.findall(r"^\| `forge_operator_.*$", page, re.M) == rows


def test_every_alert_has_values_and_a_runbook_and_no_runbook_is_left_over(rules: Path) -> None:
    (group,) = yaml.safe_load(rules.read_text())["groups"]
    assert [rule["alert"] for rule in group["rules"]] == NAMES
    assert {page.stem for page in RUNBOOKS.glob("Forge*.md")} == set(NAMES)
    for rule in group["rules"]:
        assert (RUNBOOKS.parents[1] / rule["annotations"]["runbook_url"]).is_file()
        assert "THRESHOLD" not in rule["expr"]
        assert 'job="forge-forge-observability-metrics"' in rule["expr"]


@pytest.mark.parametrize("name", NAMES)
def test_a_runbook_says_what_it_means_and_what_to_do(name: str) -> None:
    page = (RUNBOOKS / f"{name}.md").read_text()
    assert page.startswith(f"# {name}\n")
    parts = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", page, re.M | re.S))
    assert list(parts) == ["Meaning", "Impact", "Diagnosis", "Mitigation"]
    assert all(text.strip() for text in parts.values())
    assert re.search(r"^    kubectl ", parts["Diagnosis"], re.M)
    assert f"({name}.md)" in (RUNBOOKS / "README.md").read_text()


def test_values_turn_alerts_off_and_change_them(rendered: Render) -> None:
    changed = {
        "ForgeLoadLate": {"threshold": 3600, "for": "1h", "severity": "page"},
        "ForgeOperatorFight": {"enabled": False},
    }
    wanted = {
        "enabled": True,
        "labels": {"release": "prometheus"},
        "alertLabels": {"team": "platform"},
        "runbookUrl": "https://wiki.example.com/forge/",
        "alerts": changed,
    }
    made = only(rendered(metrics={"prometheusRule": wanted}), "PrometheusRule")
    assert made["metadata"]["labels"]["release"] == "prometheus"
    by_name = {rule["alert"]: rule for rule in made["spec"]["groups"][0]["rules"]}
    assert by_name.keys() == set(NAMES) - {"ForgeOperatorFight"}
    late = by_name["ForgeLoadLate"]
    assert "> 3600 " in late["expr"]
    assert late["for"] == "1h"
    assert late["labels"] == {"severity": "page", "team": "platform"}
    assert late["annotations"]["runbook_url"] == "https://wiki.example.com/forge/ForgeLoadLate.md"


def test_prometheus_reads_the_rules(promtool: Path, rules: Path) -> None:
    done = subprocess.run([promtool, "check", "rules", rules], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(NAMES)} rules found" in done.stdout


def series(case: dict[str, Any]) -> list[dict[str, str]]:
    """A case's series over the healthy ones, of two replicas."""
    minutes = range(MINUTES)
    named = {
        "HOURLY": " ".join(str((minute - minute % 60) * 60) for minute in minutes),
        "HOURLY_LATER": " ".join(str(max(minute - (minute - 10) % 60, 0) * 60) for minute in minutes),
    }
    found = []
    for name, value in {**CASES["healthy"], **case.get("series", {})}.items():
        metric, _, labels = name.replace("NS", STACK).partition("{")
        for replica in ("a", "b"):
            written = f'{metric}{{job="forge-forge-observability-metrics",instance="{replica}",{labels or "}"}'
            found.append({"series": written, "values": named.get(value, value.replace("xN", f"x{MINUTES}"))})
    return found


def test_each_alert_fires_on_what_it_is_for_and_on_nothing_else(promtool: Path, rules: Path, tmp_path: Path) -> None:
    assert {case["alert"] for case in CASES["cases"] if case.get("fires")} == set(NAMES)
    tests = []
    for case in CASES["cases"]:
        firing = 'count by (alertname) (ALERTS{alertstate="firing"})'
        label = f'{{alertname="{case["alert"]}"}}'
        tests.append(
            {
                "name": case["name"],
                "interval": "1m",
                "input_series": series(case),
                "promql_expr_test": [
                    {"expr": firing, "eval_time": f"{minute}m", "exp_samples": [{"labels": label, "value": 1}]}
                    for minute in case.get("fires", [])
                ]
                + [{"expr": firing, "eval_time": f"{minute}m", "exp_samples": []} for minute in case.get("quiet", [])],
            }
        )
    file = tmp_path / "tests.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": tests}))
    done = subprocess.run([promtool, "test", "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
