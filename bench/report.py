"""The figures of `bench.compare` and `bench.growth`, as pages with tables and plots in docs/performance/.

python -m bench.report
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from backmarket.standalone.programs import CHECKOUT
from bench import compare, drawing, growth
from bench.setting import machine

REPORT = CHECKOUT / "docs" / "performance"
TITLES = {"comparison": "The same work by dlt and by a bare script", "growth": "How the costs grow"}
"""The pages, and the sections of measurements.md that describe them."""
PAGE = """# {title}

`make bench` writes this page. How it measures: [measurements](measurements.md#{anchor}).

{tables}

{plots}
"""
COMPARED = {"wall": "wall", "cpu": "CPU", "memory": "memory", "requests": "requests", "rows": "rows written"}
"""The figures whose ratio is shown, and what they are called."""

Figures = dict[str, dict[str, Any]]


def main() -> None:
    """Write the report."""
    REPORT.mkdir(exist_ok=True)
    if compare.RESULTS.exists():
        results = json.loads(compare.RESULTS.read_text())
        write("comparison", comparison(results), draw_comparison(results))
    if growth.RESULTS.exists():
        lines = json.loads(growth.RESULTS.read_text())
        write("growth", grown(lines), draw_growth(lines))
    print(f"The report is in {REPORT.relative_to(CHECKOUT)}.")


def write(name: str, tables: str, plots: Iterable[str]) -> None:
    """Write one page."""
    title = TITLES[name]
    anchor = title.lower().replace(" ", "-")
    page = PAGE.format(title=title, anchor=anchor, tables=tables, plots="\n\n".join(plots))
    (REPORT / f"{name}.md").write_text(page)


def comparison(results: Figures) -> str:
    """A table of ratios, and one of all figures."""
    titles = {each.name: each.title for chain in compare.scenarios(20_000) for each in chain}
    known = [name for name in titles if name in results]
    ratios = [[titles[name], *ratios_of(results[name])] for name in known]
    rows = [[titles[name], who, *figures_of(one)] for name in known for who, one in results[name].items()]
    compared = [f"{what}: dlt / ours" for what in COMPARED.values()]
    head = ["", *compared, "CPU: ours / bare", "complete: ours, dlt, bare"]
    full = ["", "", "wall", "CPU", "memory", "requests", "first to last request", "rows written", "violations"]
    return "\n\n".join([f"{machine()}.", table(head, ratios), table(full, rows)])


def ratios_of(results: dict[str, Any]) -> list[str]:
    """Of one scenario."""
    ours, dlt, bare = (results.get(who) for who in ("ours", "dlt", "bare"))
    complete = ", ".join(f"{one['complete']:.2%}".replace("100.00%", "all") for one in results.values())
    return [
        *("failed" if dlt and dlt["error"] else ratio(dlt, ours, figure) for figure in COMPARED),
        "failed" if bare and bare["error"] else ratio(ours, bare, "cpu"),
        complete,
    ]


def ratio(one: dict[str, Any] | None, other: dict[str, Any] | None, figure: str) -> str:
    """How many times the other's."""
    return f"{one[figure] / other[figure]:.2f}" if one and other and other[figure] else ""


def figures_of(one: dict[str, Any]) -> list[str]:
    """Of one contestant."""
    failed = " (failed)" if one["error"] else ""
    return [
        f"{one['wall']:.2f} s{failed}",
        f"{one['cpu']:.3f} s" if one["cpu"] else "",
        f"{one['memory'] / 2**20:.0f} MiB" if one["memory"] else "",
        f"{one['requests']:g}",
        f"{one['span']:.1f} s",
        f"{one['rows']:,.0f}",
        f"{one['violations']}",
    ]


def grown(lines: Figures) -> str:
    """A table for each line."""
    parts = [f"{machine()}."]
    for name, word in (("organizations", "a sync of each of"), ("orders", "each order of")):
        head = [word, "wall", "our CPU", "PostgreSQL's", "memory", "statements", "requests", "slices"]
        rows = [
            [f"{int(size):,} {name}", *(f"{p[each]:.3f} ms" for each in ("wall", "ours", "postgres"))]
            + [f"{p['memory']:.0f} MB"]
            + [f"{p[each]:.4g}" for each in ("statements", "requests", "slices")]
            for size, p in lines[name].items()
        ]
        parts.append(table(head, rows))
    return "\n\n".join(parts)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """In Markdown."""
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])


def draw_comparison(results: Figures) -> Iterator[str]:
    """Draw the seconds, and the seconds of CPU, of those that came to an end."""
    titles = {each.name: each.title for chain in compare.scenarios(20_000) for each in chain}
    for figure, title in (("wall", "Seconds until it is done"), ("cpu", "Seconds of CPU of the client processes")):
        shown = {
            titles[name]: {who: one[figure] for who, one in results[name].items() if not one["error"]}
            for name in titles
            if name in results
        }
        yield save(f"comparison-{figure}.svg", title, drawing.bars(title, "s", shown))


def draw_growth(lines: Figures) -> Iterator[str]:
    """Draw the CPU by size."""
    for name, what in (("organizations", "a quiet sync of one organization"), ("orders", "the first load of an order")):
        shown = {
            label: {int(size): point[key] for size, point in lines[name].items()}
            for label, key in (("our processes", "ours"), ("PostgreSQL", "postgres"))
        }
        title = f"CPU of {what}, by the number of {name}"
        yield save(f"growth-{name}.svg", title, drawing.lines(title, "ms", shown))


def save(name: str, title: str, drawn: str) -> str:
    """Store a plot beside the page, and return its link."""
    (REPORT / name).write_text(drawn)
    return f"![{title}]({name})"


if __name__ == "__main__":
    main()
