"""The console's page of endpoints."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from backmarket.status.inbox import InboxKind
from tests.integration.events.conftest import ORG, Office
from tests.support.console import OPERATOR, VIEWER, Visitor
from tests.support.databases import not_as_process

SCRIPT = "<script>alert(1)</script>"


@pytest.fixture
def anna(office: Office, database_url: str) -> Iterator[Visitor]:
    """An operator; the console connects with a login of its own."""
    users = (SecretStr(OPERATOR), SecretStr(VIEWER))
    url = SecretStr(not_as_process(database_url))
    visitor = Visitor(office.services.settings.model_copy(update={"console_users": users, "database_url": url}))
    visitor.log_in()
    yield visitor
    visitor.close()


def test_an_operator_sees_endpoints_and_enables_disables_and_resends(office: Office, anna: Visitor) -> None:
    assert "Nothing is called at events yet" in anna.text("/endpoints")
    endpoint = office.webhook(organization_id=ORG, resources=["orders"], description=SCRIPT)
    here = f"/endpoints/{endpoint.id}"
    office.receiver.answer = lambda event: (500 if event["external_id"] == "2" else 204, {})
    office.happen(1, 2)
    office.slice()
    assert "The receiver answered 500. 1 in a row." in anna.text("/endpoints")
    page = anna.text(here)
    assert ("orders 1 updated" in page, "orders 2 updated" in page, SCRIPT in anna.get(here).text) == (
        True,
        True,
        False,
    )
    first = office.bm.changes().items[0].cursor
    assert "The event is sent again" in anna.do(here, page=here, what="redeliver", event=first)
    office.make_due()
    office.receiver.answer = lambda event: (204, {})
    office.slice()
    assert office.receiver.ids() == ["1", "2", "1", "2"]
    assert "gets no events" in anna.do(here, page=here, what="disable")
    assert "by a person" in anna.text("/endpoints")
    assert "The endpoint is disabled" in anna.do(here, page=here, what="redeliver", event=first)
    assert "from where it stopped" in anna.do(here, page=here, what="enable")
    assert "Choose what to do" in anna.do(here, page=here, what="")
    assert office.stored(endpoint).state == "enabled"
    entries = office.bm.audit(what="event.disable").items
    assert [(entry.actor, entry.object_id) for entry in entries] == [("anna", str(endpoint.id))]


@pytest.mark.parametrize("organization", [ORG, None], ids=["of one seller", "of all"])
def test_one_that_was_switched_off_waits_in_the_inbox(office: Office, anna: Visitor, organization: str | None) -> None:
    endpoint = office.webhook(organization_id=organization)
    office.bm.disable_event_endpoint(endpoint.id)
    assert "Nothing waits for you." in anna.text("/inbox"), "a person has done it"
    office.bm.enable_event_endpoint(endpoint.id)
    office.receiver.answer = lambda event: (410, {})
    office.happen(1)
    office.slice()
    (item,) = office.bm.get_inbox()
    assert (item.kind, item.organization_id, item.endpoint_id) == (InboxKind.WEBHOOK, organization, endpoint.id)
    page = anna.text("/inbox")
    assert "A webhook was switched off" in page
    assert (organization or "All sellers") in page
    assert "The receiver answered 410." in page
    said = anna.do(f"/endpoints/{endpoint.id}", page="/inbox", what="enable", back="/inbox")
    assert "Nothing waits for you." in said
    assert office.stored(endpoint).state == "enabled"


def test_pages_and_forms_are_for_operators_and_for_what_is_there(office: Office, anna: Visitor) -> None:
    endpoint = office.webhook()
    assert anna.get("/endpoints/999").status_code == 404
    assert anna.get("/endpoints?after=x").status_code == 404
    anna.http.cookies.clear()
    anna.log_in("otto")
    for path in ("/endpoints", f"/endpoints/{endpoint.id}"):
        assert anna.get(path).status_code == 403
    assert anna.send(f"/endpoints/{endpoint.id}", what="disable").status_code == 403
    assert office.stored(endpoint).state == "enabled"


def test_no_page_shows_a_secret(office: Office, anna: Visitor) -> None:
    endpoint = office.webhook()
    for path in ("/endpoints", f"/endpoints/{endpoint.id}"):
        assert "whsec_" not in anna.get(path).text
