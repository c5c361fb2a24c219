"""What a person and an operator see of endpoints: the command, `doctor`, the metrics."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from typer.testing import CliRunner, Result

from backmarket.cli.app import app
from backmarket.database import Database
from backmarket.doctor import work
from backmarket.errors import ENV_PREFIX
from backmarket.status.broker import Broker
from backmarket.status.deployment_metrics import measure
from tests.integration.events.conftest import ORG, Office
from tests.support.databases import as_process


@pytest.fixture
def cli(office: Office, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    settings = office.services.settings
    for name in ("database_url", "redis_url", "limiter_key"):
        monkeypatch.setenv(f"{ENV_PREFIX}{name.upper()}", settings.need(name))
    monkeypatch.setenv(f"{ENV_PREFIX}SECRET_KEYS", settings.secret_keys[0].get_secret_value())
    monkeypatch.setenv(f"{ENV_PREFIX}EVENT_PRIVATE_ORIGINS", office.receiver.origin)

    def run(*arguments: str) -> Result:
        result = CliRunner().invoke(app, ["events", *arguments])
        assert result.exit_code == 0, result.output
        return result

    return run


def test_the_command_does_all_that_an_endpoint_needs(office: Office, cli: Callable[..., Result]) -> None:
    assert "`backmarket events add URL`" in cli("list").stderr
    url = f"{office.receiver.origin}/hook"
    added = cli("add", url, "--organization", ORG, "--resource", "orders", "--kind", "updated", "--description", "Shop")
    office.receiver.secrets["/hook"] = added.stdout.strip()
    (endpoint,) = json.loads(cli("list", "--json").stdout)["items"]
    assert (endpoint["resources"], endpoint["kinds"], endpoint["description"]) == (["orders"], ["updated"], "Shop")
    assert "whsec_" not in cli("list").stdout + cli("show", str(endpoint["id"]), "--json").stdout
    number = str(endpoint["id"])
    office.happen(1)
    office.slice()
    (attempt,) = json.loads(cli("attempts", number, "--json").stdout)["items"]
    assert (attempt["external_id"], attempt["outcome"]) == ("1", "delivered")
    assert "orders 1 updated" in cli("attempts", number).stdout
    cli("redeliver", number, attempt["cursor"])
    office.slice()
    assert office.receiver.ids() == ["1", "1"]
    cli("change", number, "--all-resources", "--field", "price", "--initial", "--url", f"{url}2")
    changed = json.loads(cli("show", number, "--json").stdout)
    assert (changed["resources"], changed["kinds"], changed["fields"]) == (None, ["updated"], ["price"])
    assert (changed["initial"], changed["url"]) == (True, f"{url}2")
    assert cli("rotate-secret", number).stdout.startswith("whsec_")
    cli("disable", number)
    assert "person" in cli("list").stdout
    cli("enable", number, "--after", "now")
    cli("remove", number, "--yes")
    assert json.loads(cli("list", "--json").stdout)["items"] == []
    acts = [entry.action for entry in office.bm.audit(what="event")]
    assert acts[::-1] == [
        *("event.create", "event.redeliver", "event.change", "event.rotate_secret", "event.disable", "event.enable"),
        "event.delete",
    ]


def test_doctor_and_metrics_name_what_fails_and_what_is_late(office: Office, database_url: str, redis_url: str) -> None:
    failing, _gone, off = (office.webhook(f"/{name}") for name in ("failing", "gone", "off"))
    office.bm.disable_event_endpoint(off.id)
    office.receiver.answer = lambda event: (500, {})
    office.happen(1)
    office.slice()
    office.execute(
        "UPDATE backmarket.event_endpoints SET state = 'disabled', disabled_reason = 'gone' WHERE url LIKE '%%gone'"
    )
    office.execute(
        "UPDATE backmarket.event_endpoints SET due_at = now() - interval '5 minutes' WHERE id = %s", failing.id
    )
    told = {finding.check: finding.found for finding in work.look(office.services)}
    assert told["endpoints"] == "Endpoints for events that fail, and are retried: 1."
    assert "Minutes for which events have been due" in told["events"]
    exporter, broker = Database(as_process(database_url, "metrics")), Broker(redis_url)
    found = {(each.name, *each.labels.values()): each.value for each in measure(exporter, broker)}
    exporter.close()
    broker.close()
    states = {state: found["event_endpoints", state] for state in ("ok", "failing", "disabled", "off")}
    assert states == {"ok": 0, "failing": 1, "disabled": 1, "off": 1}
    assert found[("event_retries",)] == 2
    assert 300 <= found[("events_overdue_seconds",)] < 400
    assert found["queue_messages", "events"] == 0


def test_doctor_names_secrets_that_no_key_reads(office: Office) -> None:
    office.webhook()
    office.execute("UPDATE backmarket.event_endpoints SET secret = 'not ours'")
    told = {finding.check: finding.found for finding in work.look(office.services)}
    assert told["stored secrets"].endswith("the secrets of 1 webhook: nothing is sent there.")
