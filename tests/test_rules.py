"""Alert rules and dashboard: they name what there is, and fire when they should."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from program import free_port, here, write_devices
from prometheus_client.parser import text_string_to_metric_families

JOBS = Path(__file__).parent.parent / "jobs"
RULES = JOBS / "bulkcert.rules.yml"
ON = 'action="inactivate-device", mqtt_instance="post-cn-1", job_name="nightly-inactivation"'
LAST = "bulkcert_last_"

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool (apt-get install prometheus, 96 MB) is not there"
)


@pytest.fixture
def exposition(tmp_path, service):
    """Returns the file of metrics that a run has left, whose lanes might have been on several machines."""
    service.seed(write_devices(tmp_path / "d.csv", 10))
    file = tmp_path / "b.prom"
    cluster = ("--cluster", f"tcp://127.0.0.1:{free_port()}")
    here("run", "inactivate-device", tmp_path / "d.csv", *service.where, "--metrics-file", file, *cluster).ended(0)
    return file


def used_names(text):
    return set(re.findall(r"\bbulkcert_\w+", text))


def test_rules_and_dashboard_name_what_there_is(exposition):
    """Every metric that an alert rule or a panel of the dashboard names is in what a run tells."""
    families = text_string_to_metric_families(exposition.read_text())
    told = {sample.name for family in families for sample in family.samples}
    rules = yaml.safe_load(RULES.read_text())["groups"][0]["rules"]
    dashboard = json.loads((JOBS / "grafana-dashboard.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]

    assert all({"alert", "expr", "labels", "annotations"} <= rule.keys() for rule in rules)
    assert all(rule["annotations"].keys() == {"summary", "description"} for rule in rules)
    for expression in [rule["expr"] for rule in rules] + expressions:
        assert used_names(expression)
        assert used_names(expression) <= told
    alerts = {name for panel in dashboard["panels"] for name in re.findall(r"\bBulkcert\w+", panel["description"])}
    assert alerts <= {rule["alert"] for rule in rules}
    assert all("${datasource}" in json.dumps(panel["datasource"]) for panel in dashboard["panels"])


@needs_promtool
def test_prometheus_reads_them(exposition):
    """Prometheus itself reads the rules, and finds nothing to say about the metrics."""
    subprocess.run(["promtool", "check", "rules", RULES], check=True)
    with exposition.open("rb") as file:
        checked = subprocess.run(["promtool", "check", "metrics"], check=False, stdin=file, capture_output=True)

    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")


def ended(status, action="inactivate-device", **rows):
    """Returns the series of a run that has ended, with so many rows of each outcome."""
    on = ON.replace("inactivate-device", action, 1)
    series = {f"{LAST}exit_status{{{on}}}": f"{status}x60", f"{LAST}success_timestamp_seconds{{{on}}}": "0x60"}
    return series | {f'{LAST}rows{{{on}, outcome="{outcome}"}}': f"{count}x60" for outcome, count in rows.items()}


def going(calls, *, start=0):
    """Returns the series of a run that goes on, with so many calls each minute."""
    values = {"run_active": "1x60", "rows_left": "50x60", "calls_total": calls, "updated_timestamp_seconds": "0+60x60"}
    values["run_start_timestamp_seconds"] = f"{start}x60"
    return {f"bulkcert_{name}{{{ON}}}": told for name, told in values.items()}


FIRES = {
    "all well": (ended(0, succeeded=9), []),
    "not registered": (ended(1, succeeded=9, not_registered=2), ["BulkcertRowsNotRegistered"]),
    "not registered, to be on": (ended(1, "activate-device", not_registered=2), ["BulkcertRowsNotDone"]),
    "protected": (ended(1, succeeded=9, protected=1), ["BulkcertRowsNotDone"]),
    "undone": (ended(1, succeeded=9, undone=3), ["BulkcertRowsNotDone"]),
    "failed": (ended(1, succeeded=9, failed=1), ["BulkcertRowsNotDone"]),
    "read back otherwise": (ended(1, succeeded=9, failed=0), ["BulkcertReadBackOtherwise"]),
    "refused": (ended(77, not_attempted=0), ["BulkcertRunFailed"]),
    "unreachable": (ended(69), ["BulkcertServiceSilent"]),
    "going on": (going("0+9x60"), []),
    "stuck": (going("9x60"), ["BulkcertNoProgress"]),
    "just started": (going("9x60", start=900), []),
}
"""Series as ``promtool`` takes them, and the alerts that must fire after 20 minutes, and no others."""


@needs_promtool
@pytest.mark.parametrize(("series", "alerts"), FIRES.values(), ids=FIRES)
def test_what_fires(tmp_path, series, alerts):
    """Each way in which a run goes wrong has its alert, and no other; a night that went well has none."""
    rules = [rule["alert"] for rule in yaml.safe_load(RULES.read_text())["groups"][0]["rules"]]
    expressions = [
        {
            "expr": f'count(ALERTS{{alertname="{rule}", alertstate="firing"}})',
            "eval_time": "20m",
            "exp_samples": [{"labels": "{}", "value": 1}] if rule in alerts else [],
        }
        for rule in rules
        if rule != "BulkcertNightlyNotDone"  # its metric is there at some of these only
    ]
    given = [{"series": name, "values": values} for name, values in series.items()]
    asked = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "1m",
        "tests": [{"interval": "1m", "input_series": given, "promql_expr_test": expressions}],
    }
    (tmp_path / "test.yml").write_text(yaml.safe_dump(asked))
    checked = subprocess.run(["promtool", "test", "rules", tmp_path / "test.yml"], check=False, capture_output=True)

    assert checked.returncode == 0, (checked.stdout + checked.stderr).decode()
