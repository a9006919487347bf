"""`ocgan report`: a page of a benchmark's results, and the Markdown tables of its summaries."""

from __future__ import annotations

import shlex
from pathlib import Path

from ..errors import UsageError
from ..files import write_text
from . import terminal
from .flags import read_classes, read_seeds
from .guards import check_unread


def report(
    folder: Path | None = None,
    /,
    *,
    out: Path | None = None,
    data_root: Path | None = None,
    method: str | None = None,
    classes: str = "all",
    seeds: str | None = None,
    docs: Path | None = None,
    results: Path = Path("results"),
) -> None:
    """Make a page of a benchmark's results; or, with --docs, Markdown tables of its summaries.

    From files alone: nothing is computed again, and the same files give the same bytes. A missing
    cell is an error that names it.

    Parameters
    ----------
    folder
        Where `ocgan benchmark` wrote.
    out
        The folder for index.html (default: the results' own).
    data_root
        Where named data sets lie; shows the test images that were judged best and worst.
    method
        Whose judgement that is, as in the results' folders (default: the best OCGAN).
    classes
        The classes that must be there, comma-separated; or all.
    seeds
        The seeds that must be there (default: all that occur).
    docs
        Write the tables of the summaries there, as Markdown.
    results
        Where `ocgan benchmark summarise` wrote the summaries.
    """
    if folder is None and docs is None:
        raise UsageError("give the folder of a benchmark, or --docs FILE, or both")
    page_alone = {"out": out, "data-root": data_root, "method": method, "seeds": seeds}
    given = [name for name, value in page_alone.items() if value is not None]
    given += ["classes"] if classes != "all" else []
    if folder is None and given:
        raise UsageError(f"--{given[0]} is about the page of a benchmark: give its folder too")
    if folder is not None:
        print(_page(folder, out, data_root, method, classes, seeds))
    if docs is not None:
        from ..benchmark.results import SUMMARY_FILES
        from ..benchmark_report import results_page

        check_unread("--docs", docs, results.glob(SUMMARY_FILES))
        words = ["ocgan", "report", "--docs", str(docs)]
        words += [] if results == Path("results") else ["--results", str(results)]
        write_text(docs, results_page(results, shlex.join(words)))
        print(docs)


def _page(
    folder: Path,
    out: Path | None,
    data_root: Path | None,
    method: str | None,
    classes: str,
    seeds: str | None,
) -> Path:
    from ..benchmark_report import write_benchmark_page

    return write_benchmark_page(
        folder,
        out,
        data_root=data_root,
        method=method,
        classes=read_classes(classes),
        seeds=read_seeds(seeds),
        progress=terminal.note,
    )
