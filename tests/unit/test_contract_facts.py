"""The facts of the contract: made anew where the OpenAPI document lies beside the checkout, sound everywhere."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).parents[2]
SCRIPT = CHECKOUT / "scripts" / "contract-facts"
DOCUMENT = CHECKOUT.parent / "shared" / "back-market-openapi.yml"
FACTS = CHECKOUT / "tests" / "contract" / "facts.json"

TYPES = {"array", "boolean", "integer", "number", "object", "string"}
WORDS = {
    "any_of", "closed", "default", "deprecated", "enum", "exclusiveMinimum", "format", "maximum", "maxLength",
    "minimum", "minItems", "minLength", "minProperties", "nullable", "pattern", "recursive", "required", "type",
    "uniqueItems",
}  # fmt: skip


def facts() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(FACTS.read_text())
    return loaded


def bodies(operation: dict[str, Any]) -> list[dict[str, Any]]:
    answers = [fields for kinds in operation["answers"].values() for fields in kinds.values()]
    return [*operation.get("request", {}).values(), *answers]


def write_facts(document: Path, output: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), str(document), "--output", str(output)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_facts_are_those_of_the_document(tmp_path: Path) -> None:
    """Only where the document is: it is not ours to carry. The other tests hold everywhere."""
    if DOCUMENT.exists():
        written = write_facts(DOCUMENT, tmp_path / "facts.json")
        assert written.returncode == 0, written.stderr
        assert (tmp_path / "facts.json").read_bytes() == FACTS.read_bytes()


def test_every_operation_is_there_once() -> None:
    operations = facts()["operations"]
    assert len(operations) == 39
    assert all(re.fullmatch(r"(GET|POST|PUT|PATCH|DELETE) /ws/\S+", name) for name in operations)


def test_every_operation_says_what_it_takes_and_answers() -> None:
    for name, operation in facts()["operations"].items():
        in_path = {place.removeprefix("path ") for place in operation["parameters"] if place.startswith("path ")}
        assert in_path == set(re.findall(r"{(\w+)}", name)), name
        assert set(operation["answers"]) == {status for status in operation["statuses"] if status < "3"}, name
        assert operation["answers"], name
        assert ("request" in operation) == ("request_required" in operation), name


def test_every_fact_is_made_of_the_words_that_are_known() -> None:
    for operation in facts()["operations"].values():
        for fields in [operation["parameters"], *bodies(operation)]:
            for path, fact in fields.items():
                assert set(fact) <= WORDS, path
                assert fact.get("type", "string") in TYPES, path


def test_every_field_lies_in_one_that_is_there() -> None:
    for operation in facts()["operations"].values():
        for fields in bodies(operation):
            above = {path: re.sub(r"(\.[^.\[{]+|\[]|{})$", "", path) for path in fields if path != "$"}
            assert [path for path, parent in above.items() if parent not in fields] == []


def test_the_facts_hold_no_prose() -> None:
    """Enums apart, which are the API's words, nothing in there is a sentence, an example or an address of a person."""
    operations = facts()["operations"]
    for operation in operations.values():
        for fields in [operation["parameters"], *bodies(operation)]:
            for fact in fields.values():
                said = [value for word, value in fact.items() if word != "enum" and isinstance(value, str)]
                assert all(" " not in value for value in said)
    names = re.findall(r'(?m)^ +"([^"]+)": ', FACTS.read_text())
    assert [name for name in names if len(name.split()) > 2] == []


def test_the_layout_is_the_scripts_own() -> None:
    """One fact a line and sorted, so that a new document shows as a readable diff."""
    lines = FACTS.read_text().splitlines()
    assert all(len(re.findall(r'"type": ', line)) <= 1 or '"any_of"' in line for line in lines)
    names = list(facts()["operations"])
    assert names == sorted(names)


def test_the_figures_that_the_limiter_and_the_lists_rely_on() -> None:
    known = facts()
    assert {"200 requests / 10 seconds", "20 requests / 10 seconds", "blocked 10 seconds"} <= set(known["limits"])
    assert known["operations"]["POST /ws/listings"]["limits"] == ["15000 lines / file"]
    orders = known["operations"]["GET /ws/orders"]["parameters"]
    assert orders["query page-size"] == {"type": "integer", "default": 10, "maximum": 50}


def test_a_document_that_is_not_there_is_refused(tmp_path: Path) -> None:
    refused = write_facts(tmp_path / "nothing.yml", tmp_path / "facts.json")
    assert refused.returncode == 2
    assert "give its path" in refused.stderr
    assert not (tmp_path / "facts.json").exists()


def test_a_small_document_gives_small_facts(tmp_path: Path) -> None:
    (tmp_path / "small.yml").write_text(
        """
        info: {description: Above 7 requests in 3 seconds.}
        servers: [{url: "https://api.example"}]
        paths:
          /ws/things/{id}:
            parameters: [{in: path, name: id, required: true, schema: {type: integer}}]
            get:
              description: A sentence. Twice per second per token, twice per second, and 4,000 per day.
              parameters: [{in: query, name: n, schema: {type: integer, minimum: 0, default: 0}}]
              responses:
                '200':
                  content:
                    application/json:
                      schema:
                        allOf: [{$ref: '#/components/schemas/Thing'}, {required: [odd], properties: {b: {enum: [1]}}}]
                '404': {description: none}
        components:
          schemas:
            Thing:
              type: object
              required: [a]
              properties:
                a: {anyOf: [{nullable: true}, {type: string, description: words, example: x}]}
                c: {type: array, items: {$ref: '#/components/schemas/Thing'}}
                d: {additionalProperties: {oneOf: [{type: string}, {type: number}]}}
        """
    )
    assert write_facts(tmp_path / "small.yml", tmp_path / "facts.json").returncode == 0
    written = json.loads((tmp_path / "facts.json").read_text())
    assert written["limits"] == ["7 requests / 3 seconds"]
    operation = written["operations"]["GET /ws/things/{id}"]
    assert operation["limits"] == ["2 requests / second", "4000 requests / day"]
    assert operation["parameters"] == {
        "path id": {"type": "integer", "required": True},
        "query n": {"type": "integer", "minimum": 0, "default": 0},
    }
    assert operation["statuses"] == ["200", "404"]
    assert operation["answers"]["200"]["application/json"] == {
        "$": {"type": "object"},
        "$.a": {"type": "string", "nullable": True, "required": True},
        "$.b": {"enum": [1]},
        "$.c": {"type": "array"},
        "$.c[]": {"type": "object"},
        "$.c[].a": {"type": "string", "nullable": True, "required": True},
        "$.c[].c": {"type": "array"},
        "$.c[].c[]": {"type": "object", "recursive": True},
        "$.c[].d": {},
        "$.c[].d{}": {"any_of": [{"type": "string"}, {"type": "number"}]},
        "$.d": {},
        "$.d{}": {"any_of": [{"type": "string"}, {"type": "number"}]},
        "$.odd": {"required": True},
    }
