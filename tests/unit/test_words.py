"""One word for one thing: words that were replaced do not come back, and the glossary defines each word once."""

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
SCANNED = ("backmarket", "docs", "monitoring", "schema.sql", "tasks", "workers")
SUFFIXES = {".py", ".md", ".html", ".css", ".js", ".json", ".yml", ".yaml", ".lua", ".sql"}
NOT_OURS = {"backmarket/console/static/htmx.min.js"}

REPLACED: Mapping[str, str] = {
    r"telemetry\.(tell|watch|ignore)": "telemetry.emit, subscribe, unsubscribe",
    r"_watchers|Watcher": "_subscribers, Subscriber",
    r"span\.facts": "span.attributes",
    r"logs\.place|\*\*place\(|exception_place": "error_location",
    r"[Ss]tocktaking": "reconciliation, bucket_reconcile",
    r"bucket_reconcile\.(look|Place)": "bucket_reconcile.reconcile_page, Position",
    r"_opened": "locked_cached_property",
    r"_HOMES": "_LAZY_EXPORTS",
    r"_border": "_translate_errors",
    r"_admitted": "_check_role",
    r"Noun": "FacadePart",
    r"_ears|_voice": "_wake_reader, _wake_writer",
    r"Heart|HEART|health\.heart|loop_silence_seconds": "Heartbeat.age, heartbeat_age_seconds",
    r"reception": "message filter",
    r"RefusingConsumer|BeatingConsumer": "RejectingConsumer, HeartbeatConsumer",
    r"QuickDispatcher|QuickEvents": "ThreadSafeEventDispatcher, ThreadSafeEvents",
    r"up[./](kept|surroundings|words)": "state_file, environment, banner",
    r"[Ww]ards?|_?last_words|obituary": "Supervised, exit_report",
    r"let_go": "stop_requested",
    r"kept\.json": "state.json",
    r"access[./](gate|people)": "access.auth, access.users",
    r"console[./](visit|live)": "console.request_context, console.sse",
    r"Visit|visit": "RequestContext, context",
    r"state\.(gate|live)": "app.state.auth, app.state.events",
    r"Role\.(LOOK|ACT)|may_act|--role (look|act)|role `?(look|act)": "viewer, operator",
    r"backmarket-act|(?i:console_proxy_act_group)": "console_proxy_operator_group",
    r"(?i:(backmarket_)?health_patience)": "health_stall_seconds",
    r"sandbox[./](api[./]|world[./])?(gate|dice|books|damage)": "middleware, seeded_random, sorted_rows, ...",
    r"dice|Book": "seeded_random, SortedRows",
    r"Waiting\(|get_waiting": "Throttled, get_throttled",
    r"Figure|FIGURES": "DeploymentMetric, METRICS",
    r"resolve_bulk_part|jobs\.resolve|bulk resolve": "settle_bulk_part, bulk settle",
    r"limiter\.settle|settle\.lua|limiter\.settle_failed": "limiter.complete",
    r"SETTLE_SECONDS": "QUIET_SECONDS",
    r"Turn\(|TurnEnd|take_turn|run_turn": "SliceResult, run_slice",
    r"Tenure|ageing": "LeaseHolder, needs_renewal",
    r"Flight|Landed\(|Came\(|flying": "RequestWindow, StepResult, DownloadResult, in_flight",
    r"Seats": "RequestThreads",
    r"Walkers|walking_turns|WALKING_TURNS": "AdmissionControl, max_long_syncs",
    r"_glance": "_probe_first_page",
    r"COME_AGAIN|AFTER_OTHERS|AHEAD|PATIENCE": "RETRY_WHEN_FULL_SECONDS, YIELD_SECONDS, PREFETCH_WINDOWS, ...",
    r"LONGEST|LARGEST|SHORTEST": "MAX_..., MIN_..., with the unit",
    r"BARREN_PAGES": "MAX_PAGES_WITHOUT_NEW_IDS",
    r"[Ff]ates?": "Transition, outcome",
    r"Outage|may_ask": "CircuitBreaker, allow_probe",
    r"Vault|SealedCredentials|unseal": "KeyCipher, EncryptedCredentials, decrypt",
    r"Carrier\(": "LabelUploader",
    r"limits[./]contract|Together\(|give_back|assume_idle": "limiter, Batcher, release, skip_recovery",
    r"error\.arrival": "error.delivery",
    r"Desk\(|Asker|heed|Question\(": "SliceContext, ApiRequests, apply_backpressure, ApiRequest",
    r"(bulk|writes)[./](keeping|fates|ending|deciding|left_out|records)": "retention, transitions, completion, ...",
    r"(asking|noting|recording|reading_back|subjects|bodies)\.py": "requests, register, submit, verification, ...",
    r"Messenger|Permits|Kept\(|Written\(": "WriteSender, DownloadSlots, StoredLabelObject, UpsertCounts",
    r"NotedAs|want_skipped|hasten|forgive|blemished": "InitialLabelState, requeue_skipped, retry_now, ...",
    r"def known\(kind": "enum_or_value",
    r"(?i:bulk_poll_(first|longest|late))": "bulk_poll_initial_seconds, ...",
    r"odd_since": "unexplained_since",
    r"[Rr]evisits?": "lookback",
}
"""Old words as regular expressions of whole words, with what stands in their place."""

PROSE: Mapping[str, str] = {
    r"[Ww]hoever": "the worker, the caller: name the actor",
    r"[Ss]omebody|[Nn]obody": "a person, no worker: name the actor",
    r"can't be": "cannot be, or the verb",
    r"is none": "is not one",
    r"what (becomes|became) of": "the outcome of",
    r"how (it|they|its \w+) fares?|fares?": "state, status",
    r"anew": "again",
    r"in vain": "without success, or the error",
    r"what came of": "the outcome of",
}
"""Phrases that an engineer stumbles over."""

REFUSED = "the old name is refused with the new one"
MAY_STAY: Mapping[tuple[str, str], str] = {
    ("backmarket/cli/bulk.py", "bulk resolve"): REFUSED,
    ("backmarket/database/migrations/4.sql", "odd_since"): "the migration renames it",
    ("backmarket/settings.py", "bulk_poll_first"): REFUSED,
    ("backmarket/settings.py", "bulk_poll_late"): REFUSED,
    ("backmarket/settings.py", "bulk_poll_longest"): REFUSED,
    ("backmarket/settings.py", "console_proxy_act_group"): REFUSED,
    ("backmarket/settings.py", "health_patience"): REFUSED,
    ("backmarket/settings.py", "walking_turns"): REFUSED,
    ("backmarket/standalone/embedded/postgres_user.py", "nobody"): "the name of a system's user",
}
"""By file and old word, the reason why it stands there."""


JINJA = re.compile(r"{[%{][^\n]*?[%}]}")
"""Jinja's own words, such as `is none`."""


def texts() -> Iterator[tuple[str, str]]:
    for room in SCANNED:
        for path in sorted([CHECKOUT / room, *(CHECKOUT / room).rglob("*")]):
            name = path.relative_to(CHECKOUT).as_posix()
            if path.suffix in SUFFIXES and name not in NOT_OURS:
                yield name, path.read_text(encoding="utf-8")


def whole(word: str, text: str) -> Iterator[re.Match[str]]:
    """Where a word stands as a whole; the character before is compared last, as `re` is quick with a literal first."""
    for found in re.finditer(rf"(?:{word})(?![A-Za-z0-9_])", text):
        before = text[found.start() - 1 : found.start()]
        if not (before == "_" or before.isalnum()):
            yield found


def old_words(words: Mapping[str, str]) -> Iterator[tuple[str, int, str, str]]:
    """File, line, old word and what stands in its place."""
    for name, text in texts():
        shown = JINJA.sub("", text) if name.endswith(".html") else text
        for word, instead in words.items():
            for found in whole(word, shown):
                yield name, text.count("\n", 0, found.start()) + 1, found[0], instead


def test_no_old_word_comes_back() -> None:
    assert [
        f"{name}:{number}: {word!r} is called {instead} now"
        for name, number, word, instead in old_words({**REPLACED, **PROSE})
        if (name, word) not in MAY_STAY
    ] == []


def test_what_may_stay_is_there() -> None:
    found = {(name, word) for name, _, word, _ in old_words({**REPLACED, **PROSE})}
    assert MAY_STAY.keys() <= found


@pytest.mark.parametrize(("word", "instead"), {**REPLACED, **PROSE}.items())
def test_a_new_word_is_no_old_one(word: str, instead: str) -> None:
    assert list(whole(word, instead)) == []


def test_the_glossary_defines_each_word_once_in_alphabetical_order() -> None:
    lines = (CHECKOUT / "docs" / "glossary.md").read_text(encoding="utf-8").splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("|")][2:]
    words = [row[0] for row in rows]
    assert {len(row) for row in rows} == {2}
    assert words == sorted(set(words), key=str.lower)


def raised(path: Path) -> Iterator[str]:
    """What the docstrings of a file say about the errors that a function raises, an entry for each error."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            docstring = f"{ast.get_docstring(node) or ''}\n"
            if section := re.search(r"^Raises:\n((?: {4}.*\n)+)", docstring, re.MULTILINE):
                yield from re.split(r"\n(?= {4}\S)", section[1].rstrip())


def test_a_docstring_says_when_each_error_is_raised() -> None:
    assert [
        f"{path.relative_to(CHECKOUT)}: {entry.strip()}"
        for layer in ("backmarket", "tasks", "workers")
        for path in sorted((CHECKOUT / layer).rglob("*.py"))
        for entry in raised(path)
        if not re.match(r" +[\w.,\s]+: (if|see|as for)\b", entry)
    ] == []


IN_COMMANDS = (
    "backmarket/cli/",
    "backmarket/doctor/",
    "backmarket/standalone/",
    "backmarket/console/",
    "backmarket/database/",
)
"""Rooms whose texts are for people at a terminal, or on a page; and the keys and tables, which a command makes."""


def test_a_text_that_names_a_command_names_the_method_before_it() -> None:
    groups = "connections|writes|bulk|orders|listings|sync|labels|schedule"
    command = re.compile(rf"(?<!, )`(?:backmarket )?(?:{groups}) [^`]+`")
    wrong = [
        f"{path.relative_to(CHECKOUT)}: {node.value}"
        for path in sorted((CHECKOUT / "backmarket").rglob("*.py"))
        if not str(path.relative_to(CHECKOUT)).startswith(IN_COMMANDS)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and command.search(node.value)
    ]
    assert wrong == []
