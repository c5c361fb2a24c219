"""A hook of MkDocs: the pages that are made from the code, and links that lead out of docs/.

The pages of the reference come from docstrings, the command line's help, schema.sql and the metrics, so they cannot
differ from them. On the site a link to a file of the checkout, such as `../schema.sql`, becomes the file's name; in a
checkout it leads there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import typer
from prometheus_client import CollectorRegistry
from typer.cli import get_docs_for_click

from backmarket.cli.app import app
from backmarket.status.deployment_metrics import METRICS
from workers.metrics.process import ProcessMetrics

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

CHECKOUT = Path(__file__).parents[1]
_LINK = re.compile(r"\[(?P<text>[^\]]*)\]\((?P<target>[^)#\s]+)(?P<anchor>#[^)\s]*)?\)")
_KEPT_LINES = re.compile(r"^\x08\n((?:.+\n)+)", re.MULTILINE)
"""Click's mark, and the paragraph whose lines it keeps apart."""
_TITLE = re.compile(r"^# (.+)$", re.MULTILINE)
_PARAGRAPH = re.compile(r"^(?:\*\*|[\w`\[\"]).*(?:\n\S.*)*", re.MULTILINE)
"""The first is what a page says of itself: not a title, a picture, a list, a table or a line of code."""
_TABLE = re.compile(r"^CREATE TABLE IF NOT EXISTS backmarket\.(\w+) .*?^\)[^;]*;$", re.DOTALL | re.MULTILINE)
_TABLE_CODE = re.compile(r"(?<=<code>)\w+(?=</code>(?:(?!<td|<p|<li).)*</td>)")
_GROUP = re.compile(r"^## (.+)\n((?:.+\n)+)", re.MULTILINE)
_SETTING = re.compile(r"^# (.+)\n(\w+)=(.*)$", re.MULTILINE)
"""In `.env.example`: a title with what stands below it; a comment of one line, name and value."""
_COMMENT = re.compile(r"^COMMENT ON TABLE backmarket\.(\w+) IS\s+'((?:[^']|'')*)';$", re.MULTILINE)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add each decision to the navigation."""
    decisions = sorted(path.name for path in (CHECKOUT / "docs" / "decisions").glob("0*.md"))
    _entry(config.nav or [], "Decisions").extend(f"decisions/{name}" for name in decisions)
    return config


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages that are made from the code."""
    from mkdocs.structure.files import File

    for name, text in pages():
        files.append(File.generated(config, name, content=text))
    files.append(File.generated(config, "llms.txt", content=_for_machines(config, files)))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn a link to a file of the checkout into the file's name."""
    source = PurePosixPath(page.file.src_uri)
    return _LINK.sub(lambda link: _on_site(link, source, files), markdown)


def on_page_content(html: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let a long name in a table break after its underscores, where the page is narrow."""
    return _TABLE_CODE.sub(lambda name: name[0].replace("_", "_<wbr>"), html)


def pages() -> Iterator[tuple[str, str]]:
    """The name and the Markdown of each page that is made from the code."""
    for name, title, first, objects in _DOCSTRINGS:
        yield (
            f"reference/{name}.md",
            "\n\n".join([f"# {title}", first, *(f"::: backmarket.{each}" for each in objects)]),
        )
    yield "reference/cli.md", _command_line()
    yield "reference/settings.md", _settings((CHECKOUT / ".env.example").read_text())
    yield "reference/tables.md", _tables((CHECKOUT / "schema.sql").read_text())
    yield "reference/metrics.md", _metrics()
    yield "changelog.md", (CHECKOUT / "CHANGELOG.md").read_text().replace("](docs/", "](")


_DOCSTRINGS = (
    (
        "python",
        "Python",
        "What `from backmarket import ...` offers; [for applications](../applications.md) is the guide.",
        (
            "facade.BackMarket",
            "facade.asynchronous.AsyncBackMarket",
            "producer.Producer",
            "sync.handle.SyncHandle",
            "sync.handle.SyncOutcome",
            "writes.handle.WriteHandle",
            "writes.handle.WriteOutcome",
            "bulk.handle.BulkHandle",
            "queries.pagination.Page",
            "queries.orders",
            "queries.listings",
            "queries.shipments",
            "changes.feed",
        ),
    ),
    (
        "client",
        "Typed client",
        "Every operation of the API, without PostgreSQL, Redis or workers.",
        ("client.api.create_backmarket_client", "client.api.BackMarketClient"),
    ),
    (
        "errors",
        "Errors",
        "Each has a stable `code`, and a text that never quotes a key or a customer's data.",
        ("errors",),
    ),
    (
        "messages",
        "Messages",
        "[Messages by name](../applications.md#messages-by-name) says how to send them.",
        ("messages",),
    ),
)


def _entry(nav: list[Any], title: str) -> list[Any]:
    """The list below a title of the navigation, wherever it stands."""
    for entry in nav:
        for name, below in entry.items() if isinstance(entry, dict) else ():
            found = below if name == title else _entry(below, title) if isinstance(below, list) else None
            if found:
                return found
    return []


def _for_machines(config: MkDocsConfig, files: Files) -> str:
    """The index for language models (llmstxt.org): every page in the order of the site, with its first sentence."""
    lines = [f"# {config.site_name}", "", f"> {config.site_description}", "", "## Pages", ""]
    pages = [file for name in _names(config.nav or []) if (file := files.get_file_from_path(name))]
    return "\n".join([*lines, *(f"- {_entry_for_machines(page.content_string, page.dest_uri)}" for page in pages), ""])


def _names(nav: list[Any]) -> Iterator[str]:
    """The files of all pages of the navigation."""
    for entry in nav:
        for below in entry.values() if isinstance(entry, dict) else [entry]:
            yield from _names(below) if isinstance(below, list) else [below]


def _entry_for_machines(markdown: str, address: str) -> str:
    title = _TITLE.search(markdown)
    first = _PARAGRAPH.search(markdown)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", " ".join(first[0].split())) if first else ""
    sentence = re.split(r"(?<=\.) ", re.sub(r"^\*\*\w+\.\*\* ", "", text).replace("**", ""))[0].rstrip(".:")
    return f"[{title[1] if title else address}]({address})" + (f": {sentence}" if sentence else "")


def _command_line() -> str:
    command = typer.main.get_command(app)
    _complete(command)
    text = get_docs_for_click(obj=command, ctx=typer.Context(command), name="backmarket", title="Command line")
    return _KEPT_LINES.sub(r"```text\n\1```\n", text)


def _complete(command: Any) -> None:
    """Have the page list a command with its whole first sentence, where a terminal would cut it."""
    command.short_help = re.split(r"(?<=\.)\s|\n\n", (command.help or "").strip())[0].replace("\n", " ")
    for below in getattr(command, "list_commands", lambda _: ())(context := typer.Context(command)):
        _complete(command.get_command(context, below))


def _settings(example: str) -> str:
    """Each variable of `.env.example`, with its value and the comment above it; a blank line begins a group."""
    parts = [
        "# Settings",
        "Environment variables, read once at the start of a process. A missing or wrong one is refused with a sentence "
        "that names it. `make demo` and `make up` need none.",
        "Needed everywhere: `BACKMARKET_DATABASE_URL`, `BACKMARKET_REDIS_URL`, `BACKMARKET_SECRET_KEYS`, "
        "`BACKMARKET_LIMITER_KEY` and `BACKMARKET_USER_AGENT`. `.env.example` is this page as a file to copy.",
    ]
    for title, group in _GROUP.findall(example):
        rows = [
            f"| `{name}` | {f'`{value}`' if value else ''} | {text} |" for text, name, value in _SETTING.findall(group)
        ]
        parts += [f"## {title}", "\n".join(["| variable | default | meaning |", "| --- | --- | --- |", *rows])]
    return "\n\n".join(parts)


def _tables(schema: str) -> str:
    comments = {name: text.replace("''", "'") for name, text in _COMMENT.findall(schema)}
    parts = ["# Tables", "All of them are in the schema `backmarket`. `schema.sql` creates them."]
    for table in _TABLE.finditer(schema):
        parts += [f"## {table[1]}", f"{comments[table[1]]}.", f"```sql\n{table[0]}\n```"]
    return "\n\n".join(parts)


def _metrics() -> str:
    registry = CollectorRegistry()
    ProcessMetrics(registry)
    own = [f"| `{each.name}` | {each.type} | {each.documentation} |" for each in registry.collect()]
    whole = [f"| `backmarket_{name}` | {text} |" for name, text in METRICS.items()]
    return "\n".join(
        [
            *("# Metrics", "", "## Of each process", "", "Prometheus appends `_total` to the name of a counter.", ""),
            *("| name | kind | meaning |", "| --- | --- | --- |", *own),
            *("", "## Of the deployment", "", "From `backmarket metrics`; all of them are gauges.", ""),
            *("| name | meaning |", "| --- | --- |", *whole),
        ]
    )


def _on_site(link: re.Match[str], source: PurePosixPath, files: Files) -> str:
    target = link["target"]
    if "://" in target or target.startswith("mailto:"):
        return link[0]
    path = (CHECKOUT / "docs" / source.parent / target).resolve()
    inside = path.is_relative_to(CHECKOUT / "docs")
    if inside or not path.is_relative_to(CHECKOUT) or source.parts[0] == "reference":
        return link[0]
    if not path.exists():
        raise FileNotFoundError(f"{source} links to {target}, which is not there")
    text = link["text"].strip("`")
    name = path.relative_to(CHECKOUT).as_posix()
    return f"`{name}`" if text in {name, path.name, target} else f"{link['text']} (`{name}`)"
