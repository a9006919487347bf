"""docs/results.md: the tables of the committed summaries, with where every number comes from."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from .layout import Entry, Line, grid
from .paper_numbers import FULL, SOURCE, STAGES
from .tables import Row, Table, read_summaries
from .verdict import (
    PRESETS_TEXT,
    caveats,
    data_seen,
    headline,
    notes,
    on_seeds,
    origins,
    sentences,
    verdict,
)

INTRODUCTION = f"""\
Every number is an AUROC unless its column says otherwise: in protocol 2 of one class against all
others, in protocol 1 against as many images of others; ± is the standard deviation over seeds, that
of a sample (n − 1). "mean" is the mean over classes of the means over seeds. Bold is the best
measured here. Methods without training see the same images as OCGAN and have one setting for all
data sets. Two are level where the difference of their means is within the spread over seeds; its
interval over test images is on the page that `ocgan report` makes of result files. Printed numbers
were not run here; they were taken from notes on {SOURCE}.

{textwrap.fill(PRESETS_TEXT, 100)}"""


def results_page(results: Path, command: str = "ocgan report --docs docs/results.md") -> str:
    """Write the page as Markdown, with the command that makes it.

    Parameters
    ----------
    results
        Holds ``<data set>/protocol<1|2|dev>/<method>.json``, as `benchmark.summarise` writes them.

    Raises
    ------
    InputError
        A summary is damaged, or a cell is missing; the message names it.
    """
    tables = read_summaries(results)
    made = f"Made by `{command}` from the summaries that `ocgan benchmark summarise` writes."
    blocks = [f"# Results\n\n{made}", INTRODUCTION, _overview(tables)]
    for table in tables:
        blocks += _section(table)
    return "\n\n".join(blocks) + "\n"


def _overview(tables: Sequence[Table]) -> str:
    header = [
        "mean AUROC",
        "printed for OCGAN",
        "as in the paper, here",
        "best preset here",
        "best without training",
    ]
    lines = []
    for table in tables:
        found = verdict(table)
        printed = table.printed.mean if table.printed else "–"
        rows = (found.papers, found.ours, found.free)
        texts = [f"{row.mean:.4f}, {row.title}" if row else "–" for row in rows]
        lines.append(["; ".join([table.title, *caveats(table)]), printed, *texts])
    return _table(header, lines, left=len(header))


def _section(table: Table) -> Iterator[str]:
    found = verdict(table)
    yield f"## {table.title}"
    yield f"**{headline(found)}** {sentences(table, found)}"
    yield from notes(table)
    shown = grid(table)
    lines = []
    for heading, rows in shown.groups:
        lines.append([f"*{heading}*", *[""] * (len(shown.columns) + 1)])
        lines += [[_name(row), *map(_entry, row.entries), row.seeds] for row in rows]
    yield _table(["AUROC", *shown.columns, "seeds"], lines)
    yield from on_seeds(table)
    for ablation in table.ablations():
        yield _ablation(table, ablation)
    yield "\n".join(_origins(table))


def _ablation(table: Table, rows: dict[str, Row]) -> str:
    printed = table.has_printed_ablation
    lines = []
    for stage, row in rows.items():
        title, number = STAGES[stage]
        spread = "" if row.std is None else f" ± {row.std:.4f}"
        lines.append([title, *([number] if printed else []), f"{row.mean:.4f}{spread}"])
    header = ["ablation, mean", *(["printed"] if printed else []), rows[FULL].title]
    return _table(header, lines)


def _origins(table: Table) -> Iterator[str]:
    for one in origins(table):
        yield (
            f"- {', '.join(one.methods)}: `{one.command}`; commit `{one.commit}`; "
            f"{one.machine}, {one.created}."
        )
    yield from (f"- Data: {text}." for text in data_seen(table))


def _name(line: Line) -> str:
    return f"{line.title} ({line.note})" if line.note else line.title


def _entry(entry: Entry) -> str:
    text = f"{entry.text} {entry.note}".strip()
    return f"**{text}**" if entry.best else text


def _table(header: Sequence[str], lines: Sequence[Sequence[str]], left: int = 1) -> str:
    rule = [":--" if column < left else "--:" for column in range(len(header))]
    return "\n".join(
        "| " + " | ".join(text.replace("|", "\\|") for text in row) + " |"
        for row in (header, rule, *lines)
    )
