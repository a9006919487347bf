"""A benchmark's numbers as tables: one for a data set and protocol, one row for a method.

AUROCs are in 0 … 1. A row is made from the summary of a method's cells, and recomputed from the
cells in it; a missing cell is an error.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from ..benchmark.results import (
    FIGURES,
    SUMMARY_FILES,
    Seen,
    cell_file,
    group_folder,
    is_figure,
)
from ..benchmark.summary import stored_groups, summary
from ..config import PRESETS, completed
from ..data import NAMED
from ..errors import InputError
from ..methods import KEYS
from ..tasks import Protocol
from . import paper_numbers
from .paper_numbers import ABLATION, FULL, STAGES, Printed, TableKey

MOST_COLUMNS = 12  # classes; a table of more shows figures over them instead
SETS = ("mnist", "fashion_mnist", "cifar10", "coil100")  # these first, in this order

Paths = Mapping[tuple[str, int], Path]  # of a row's result files, by class and seed


@dataclass(frozen=True, eq=False)
class Row:
    """One method on one data set and protocol.

    Parameters
    ----------
    name, title, kind, preset, changes
        As in `Method`.
    config
        Its settings; of OCGAN, those that came after the summary as they are by default.
    classes, seeds
        Every class was measured with every seed.
    cells
        By class and seed: ``auroc``, ``aupr``, ``fpr_at_95_tpr``.
    command, commit, machine, created
        Where the numbers come from.
    data
        What was read of the data set.
    """

    name: str
    title: str
    kind: str
    preset: str | None
    changes: Mapping[str, Any]
    config: Mapping[str, Any]
    classes: tuple[str, ...]
    seeds: tuple[int, ...]
    cells: Mapping[tuple[str, int], Mapping[str, float]]
    command: str
    commit: str
    machine: str
    created: str
    data: Seen

    @property
    def origin(self) -> tuple[str, str, str, str]:
        """Command, commit, machine and date."""
        return self.command, self.commit, self.machine, self.created

    @property
    def is_part(self) -> bool:
        """Whether this is a stage of the ablation: neither the whole method nor a preset's own."""
        own = PRESETS.get(self.preset or "", {}).get("stage", FULL)
        return self.kind == "ocgan" and self.config.get("stage") not in (FULL, own)

    @property
    def is_the_papers(self) -> bool:
        """Whether this is the paper's whole method with the paper's score, and nothing beside."""
        is_whole = self.preset == "paper" and self.config.get("stage") == FULL
        return is_whole and list(self.config.get("scores", ["error"])) == ["error"]

    def values(self, name: str, figure: str = "auroc") -> list[float]:
        """Return a figure of one class for every seed."""
        return [self.cells[name, seed][figure] for seed in self.seeds]

    def mean_over_classes(self, figure: str = "auroc") -> float:
        """Return the mean over classes of the means over seeds."""
        return fmean(fmean(self.values(name, figure)) for name in self.classes)

    @cached_property
    def mean(self) -> float:
        """The mean AUROC over classes and seeds."""
        return self.mean_over_classes()

    @cached_property
    def std(self) -> float | None:
        """The deviation (n − 1) over seeds of the means over classes; None for one seed."""
        return deviation(
            [fmean(self.cells[name, seed]["auroc"] for name in self.classes) for seed in self.seeds]
        )


@dataclass(frozen=True, eq=False)
class Table:
    """All methods on one data set and protocol; rows in the order in which they are shown."""

    dataset: str
    protocol: Protocol
    classes: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def key(self) -> TableKey:
        """Data set and protocol."""
        return self.dataset, self.protocol

    @property
    def title(self) -> str:
        """Name it for people."""
        return f"{dataset_title(self.dataset)}, protocol {self.protocol}"

    @property
    def printed(self) -> Printed | None:
        """What the paper prints for OCGAN here; of some of the classes it prints nothing."""
        named = NAMED.get(self.dataset)
        is_whole = named is not None and set(self.classes) == set(named.classes)
        return paper_numbers.OCGAN.get(self.key) if is_whole else None

    @property
    def has_printed_ablation(self) -> bool:
        """Whether the paper prints its ablation here, too."""
        return self.key == ABLATION and self.printed is not None

    def of_kind(self, kind: str) -> tuple[Row, ...]:
        """Return the rows of one kind: ``"ocgan"``, ``"pyod"`` or ``"baseline"``."""
        return tuple(row for row in self.rows if row.kind == kind)

    @property
    def presets(self) -> tuple[Row, ...]:
        """The rows of OCGAN but for the stages of its ablation, which are parts of it."""
        return tuple(row for row in self.of_kind("ocgan") if not row.is_part)

    def ablations(self) -> list[dict[str, Row]]:
        """Return the rows by stage wherever all four stages differ in nothing else."""
        groups: dict[str, dict[str, Row]] = defaultdict(dict)
        for row in self.of_kind("ocgan"):
            rest = {key: value for key, value in row.config.items() if key != "stage"}
            groups[json.dumps(rest, sort_keys=True)][str(row.config.get("stage"))] = row
        complete = [group for group in groups.values() if group.keys() >= STAGES.keys()]
        return [{stage: group[stage] for stage in STAGES} for group in complete]


def deviation(values: Sequence[float]) -> float | None:
    """Return the standard deviation (n − 1); None for one value."""
    return stdev(values) if len(values) > 1 else None


def dataset_title(dataset: str) -> str:
    """Name a data set for people."""
    return NAMED[dataset].title if dataset in NAMED else dataset


def best(rows: Iterable[Row]) -> Row | None:
    """Return the row of the highest mean; the first of equals."""
    return max(rows, key=lambda row: row.mean, default=None)


# --- reading ------------------------------------------------------------------------------------


def read_summaries(results: Path) -> list[Table]:
    """Read ``results/<data set>/protocol<1|2|dev>/*.json``.

    Raises
    ------
    InputError
        There are none; one is damaged; a cell is missing, by name; or methods of one table were
        not measured on the same classes.
    """
    rows = defaultdict(list)
    for path in sorted(results.glob(SUMMARY_FILES)):
        content = _read_json(path)
        key, row = _row(content, str(path))
        rows[key].append(row)
    if not rows:
        raise InputError(
            f"{str(results)!r} holds no summaries: ocgan benchmark summarise DIR --results writes "
            "them"
        )
    return _tables(rows)


def read_cells(
    folder: Path, classes: Sequence[str] | None = None, seeds: Sequence[int] | None = None
) -> tuple[list[Table], dict[tuple[TableKey, str], Paths]]:
    """Read what ``ocgan benchmark --out`` wrote.

    Parameters
    ----------
    folder
        Where it wrote.
    classes, seeds
        What must be there, as in `benchmark.summarise`.

    Returns
    -------
    The tables, and the result files of every row by table and method.

    Raises
    ------
    InputError
        As in `read_summaries`.
    """
    rows = defaultdict(list)
    files: dict[tuple[TableKey, str], Paths] = {}
    for (dataset, protocol, method), results in stored_groups(folder).items():
        key: TableKey = dataset, protocol
        content = summary(results.values(), classes, seeds)
        rows[key].append(_row(content, f"{dataset}, {method}")[1])
        files[key, method] = {(one["class"], one["seed"]): path for path, one in results.items()}
    return _tables(rows), files


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{str(path)!r} cannot be read as a summary: {error}") from None


def _row(content: Any, where: str) -> tuple[TableKey, Row]:
    try:
        cells = {(one["class"], one["seed"]): one for one in content["cells"]}
        kind, config = content["kind"], content["config"]
        row = Row(
            name=content["method"],
            title=content["title"],
            kind=kind,
            preset=content["preset"],
            changes=content["changes"],
            config=completed(config) if kind == "ocgan" else config,
            classes=tuple(content["classes"]),
            seeds=tuple(content["seeds"]),
            cells=cells,
            command=content["command"],
            commit=content["commit"],
            machine=content["machine"],
            created=content["created"],
            data=content["data"],
        )
        key = content["dataset"], content["protocol"]
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(f"{where!r} is not the summary of a method: {error}") from None
    _check_complete(row, key)
    if fault := next(_faults(content["cells"]), ""):
        raise InputError(
            f"{where!r} is not the summary of a method: {fault}; ocgan benchmark summarise writes "
            "it anew"
        )
    return key, row


def _faults(cells: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Name the cells that stand twice in a summary, and figures that are none."""
    count = Counter((one["class"], one["seed"]) for one in cells)
    for one in cells:
        name, seed = place = one["class"], one["seed"]
        if count[place] > 1:
            yield f"class {name}, seed {seed} stands in it {count[place]} times"
        for figure in FIGURES:
            if not is_figure(found := one.get(figure)):
                yield f"{figure} of class {name}, seed {seed} is {found!r}, no number in [0, 1]"


def _check_complete(row: Row, key: TableKey) -> None:
    for name in row.classes:
        for seed in row.seeds:
            if (name, seed) not in row.cells:
                cell = group_folder(Path(), *key, row.name) / cell_file(row.classes, name, seed)
                raise InputError(f"the cell {cell} is missing: no table is made without it")


def _tables(rows: Mapping[TableKey, Sequence[Row]]) -> list[Table]:
    tables = []
    for key in sorted(rows, key=_table_order):
        ordered = sorted(rows[key], key=_row_order)
        first = ordered[0]
        for row in ordered:
            if row.classes != first.classes:
                raise InputError(
                    f"{key[0]}, protocol {key[1]}: {row.name} was measured on other classes than "
                    f"{first.name}; they make no table"
                )
        tables.append(Table(*key, first.classes, tuple(ordered)))
    return tables


def _table_order(key: TableKey) -> tuple[int, str, int]:
    dataset, protocol = key
    return _place(dataset, SETS), dataset, _place(protocol, (2, 1, "dev"))


def _row_order(row: Row) -> tuple[int, int, int, str]:
    """Order OCGAN by preset and stage, the others as the benchmark lists them."""
    method = "ocgan" if row.kind == "ocgan" else row.name
    preset, stage = _place(row.preset, PRESETS), _place(row.config.get("stage"), STAGES)
    return _place(method, KEYS), preset, stage, row.name


def _place(name: object, order: Iterable[object]) -> int:
    """Return where a name stands in an order; what is not in it comes last."""
    return [*order, name].index(name)
