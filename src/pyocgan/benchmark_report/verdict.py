"""The honest sentences: who is ahead in the mean, by how much, and how sure that is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..baselines import BASELINES
from ..methods import described
from .bootstrap import Interval
from .layout import interval_text
from .tables import Row, Table, best

# By method, the mean AUROCs of R resamples, (R,): the r-th from the same draws for all methods.
Resampled = Mapping[str, NDArray[np.float64]]

PRESETS_TEXT = (
    "OCGAN as in the paper is the preset paper: both discriminators, the classifier with its "
    "mining, and the error of reconstruction as the score. The preset default stops at the stage "
    "+latent, without visual discriminator, classifier and mining, and adds up other scores, some "
    "of which need no training."
)

INVISIBLE = 0.5e-4  # a lead that four decimals do not show


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two rows, the one of the higher mean AUROC first.

    ``interval`` is that of the difference of their means, None where scores are not at hand or all
    resamples give the same difference.
    """

    first: Row
    second: Row
    interval: Interval | None = None

    @classmethod
    def of(cls, one: Row, other: Row, resampled: Resampled | None) -> Comparison:
        """Compare two rows; of equals, `one` comes first."""
        first, second = (one, other) if one.mean >= other.mean else (other, one)
        if resampled is None:
            return cls(first, second)
        return cls(first, second, Interval.of(resampled[first.name] - resampled[second.name]))

    @property
    def lead(self) -> float:
        """The difference of the means, not rounded."""
        return self.first.mean - self.second.mean

    @property
    def spread(self) -> float:
        """The larger deviation of the two means over seeds, 0 where both have one seed."""
        return max(row.std or 0.0 for row in (self.first, self.second))

    @property
    def of_one_seed(self) -> bool:
        """Whether either was measured with one seed, so that another might turn the order."""
        return None in (self.first.std, self.second.std)

    @property
    def doubts(self) -> tuple[str, ...]:
        """Say of the lead why the two are level; nothing where the first is ahead."""
        found = []
        if 0 < self.lead <= self.spread:
            found.append(f"is within the spread over seeds, {self.spread:.4f}")
        if self.interval is not None and self.interval.low <= 0:
            between = f"{self.interval.low:.4f} to {self.interval.high:.4f}".replace("-", "−")
            found.append(f"has a 95\u202f% interval that holds 0, {between}")
        if not found and self.lead < INVISIBLE:
            found.append("is too small to show")
        return tuple(found)

    @property
    def is_level(self) -> bool:
        """Whether other seeds or other test images might turn the order."""
        return bool(self.doubts)

    @property
    def lead_text(self) -> str:
        """The lead with four decimals."""
        return "less than 0.0001" if self.lead < INVISIBLE else f"{self.lead:.4f}"

    @property
    def certainty(self) -> str:
        """Say how sure the difference is, to stand behind a number."""
        if self.is_level:
            return f": the difference, {self.lead_text}, {', and '.join(self.doubts)}"
        if self.interval is None:
            return ""
        return f" (95\u202f% interval of the difference {interval_text(self.interval)})"


@dataclass(frozen=True, eq=False)
class Verdict:
    """The best preset of OCGAN, and OCGAN as in the paper, beside the best without training.

    Rows that were not measured are None; a comparison is None where either row is. ``parts`` are
    stages of the ablation that are ahead of all of their preset.
    """

    ours: Row | None
    papers: Row | None
    free: Row | None
    comparison: Comparison | None
    papers_comparison: Comparison | None
    parts: tuple[Comparison, ...]

    @property
    def ahead(self) -> Literal["ocgan", "free", "level", "alone", "none"]:
        """Which of the two kinds is ahead; alone: there is no other; none: there is no OCGAN."""
        if self.comparison is None:
            return "none" if self.ours is None else "alone"
        if self.comparison.is_level:
            return "level"
        return "ocgan" if self.comparison.first is self.ours else "free"


def verdict(table: Table, resampled: Resampled | None = None) -> Verdict:
    """Compare the presets of OCGAN with the methods without training."""
    ours, free = best(table.presets), best(table.of_kind("baseline"))
    variants = [row for row in table.presets if row.is_the_papers]
    # The preset as it stands, if it was run: not whichever variant of it these test images prefer.
    papers = best([row for row in variants if not row.changes] or variants)

    def compare(row: Row | None) -> Comparison | None:
        return Comparison.of(row, free, resampled) if row and free else None

    pairs = [
        Comparison.of(part, whole, resampled)
        for whole in dict.fromkeys(filter(None, (papers, ours)))
        if (part := _best_part(table, whole))
    ]
    parts = tuple(pair for pair in pairs if pair.first.is_part and not pair.is_level)
    return Verdict(ours, papers, free, compare(ours), compare(papers), parts)


def _best_part(table: Table, whole: Row) -> Row | None:
    """Return the best stage of the ablation that differs from a row in nothing else."""
    stages = [row for row in table.rows if row.is_part and row.preset == whole.preset]
    return best(row for row in stages if _besides_stage(row) == _besides_stage(whole))


def _besides_stage(row: Row) -> dict[str, Any]:
    return {key: value for key, value in row.changes.items() if key != "stage"}


def headline(found: Verdict) -> str:
    """Say in a sentence who is ahead: the best preset, and where OCGAN as in the paper stands."""
    if found.ours is None:
        return "OCGAN was not trained here."
    if found.comparison is None:
        return "No method without training was measured here."
    stands, them = {
        "ocgan": ("ahead of every method without training", "the best of them"),
        "level": ("level with the best method without training", "it"),
        "free": ("behind the best method without training", "it"),
    }[found.ahead]
    text = f"{_named(found.ours)} is {stands}"
    if found.papers and found.papers_comparison and found.papers is not found.ours:
        text += (
            f"; {_named(found.papers)} is {_place(found.papers, found.papers_comparison)} {them}"
        )
    return f"{text}."


def _named(row: Row) -> str:
    name = "OCGAN as in the paper (preset {})" if row.is_the_papers else "The preset {}"
    return name.format(described(row.preset or "", row.changes))


def _place(row: Row, pair: Comparison) -> str:
    if pair.is_level:
        return "level with"
    return f"{pair.lead_text} {'above' if row is pair.first else 'below'}"


def sentences(table: Table, found: Verdict) -> str:
    """Say it in numbers: means, leads and how sure they are, and the printed mean beside them."""
    parts = (_best, _papers, _choices, _parts, _beside_printed)
    return " ".join(text for part in parts for text in part(table, found))


def _best(table: Table, found: Verdict) -> Iterator[str]:
    """Compare the best preset with the best method without training."""
    pair, top = found.comparison, best(table.rows)
    if pair is not None:
        less = "" if pair.is_level else f", {pair.lead_text} less"
        yield (
            f"{pair.first.title} reaches {pair.first.mean:.4f} in the mean, {pair.second.title} "
            f"{pair.second.mean:.4f}{less}{pair.certainty}."
        )
    elif top is not None:
        yield f"The best measured is {top.title}, {top.mean:.4f} in the mean."


def _papers(table: Table, found: Verdict) -> Iterator[str]:
    """Give the numbers of OCGAN as in the paper, if that is not the best preset."""
    row, pair = found.papers, found.papers_comparison
    if row is not None and pair is not None and row is not found.ours:
        yield f"{row.title} reaches {row.mean:.4f}{pair.certainty}."


def _choices(table: Table, found: Verdict) -> Iterator[str]:
    """Say so where the best of several was chosen by the images that it is compared on."""
    kinds = (
        (found.ours, len(table.presets), "settings of OCGAN"),
        (found.free, len(table.of_kind("baseline")), "methods without training"),
    )
    for row, count, kind in kinds:
        if row is not None and count > 1:
            yield f"{row.title} is the best of {count} {kind}, picked by these test images."


def _parts(table: Table, found: Verdict) -> Iterator[str]:
    """Say so if a stage of the ablation does better than all of its preset."""
    for pair in found.parts:
        part, whole = pair.first, pair.second
        doubt = " That is of one seed, and another may turn it round." if pair.of_one_seed else ""
        yield (
            f"A part alone does better than all of {whole.title}: {part.title}, {part.mean:.4f}"
            f"{pair.certainty}.{doubt}"
        )


def _beside_printed(table: Table, found: Verdict) -> Iterator[str]:
    """Set the best of each kind beside the printed mean, to the digits that are printed."""
    rows = dict.fromkeys(filter(None, (found.papers, found.ours, found.free)))
    if table.printed is None or not rows:
        return
    number = table.printed.mean
    digits = len(number.partition(".")[2])
    parts = []
    for row in rows:
        gap = round(row.mean - float(number), digits)
        side = f"{abs(gap):.{digits}f} {'above' if gap > 0 else 'below'}" if gap else "equal to"
        parts.append(f"{row.title} is {side} it")
    yield f"The paper prints {number} for OCGAN: {', '.join(parts)}."


def notes(table: Table) -> list[str]:
    """Say what keeps the numbers of a table from being compared as they stand."""
    lines = []
    for caveat in caveats(table):
        beside = " The printed row comes from the official files." if table.printed else ""
        lines.append(f"The data measured on here: {caveat}.{beside}")
    seen = [row.data["checksum"] for row in table.rows]  # of pixels, as methods see them
    if any(one != other for one, other in pairwise(seen)):
        lines.append("Not all rows were measured on the same pixels: see the lines below.")
    if not table.of_kind("baseline"):
        lines.append(
            "A method without training belongs into this table: ocgan benchmark --dataset "
            f"{table.dataset} --protocol {table.protocol} --method {','.join(BASELINES)} "
            "--out DIR measures some."
        )
    return lines


def on_seeds(table: Table) -> list[str]:
    """Say of which rows no spread is known, and that seeds may have drawn other images."""
    lines = []
    single = [row.title for row in table.rows if row.kind != "baseline" and len(row.seeds) == 1]
    if single:
        lines.append(
            f"Of one seed, so that how far another would be is not known: {', '.join(single)}."
        )
    if table.protocol != 2 and len({row.seeds for row in table.rows}) > 1:
        lines.append(
            "A seed draws the images here: rows of other seeds were measured on other images."
        )
    return lines


def caveats(table: Table) -> list[str]:
    """Return how the images of a named data set differ from the official ones, as described."""
    return sorted({row.data["caveat"] for row in table.rows} - {""})


@dataclass(frozen=True)
class Origin:
    """Where rows come from that were made alike."""

    methods: tuple[str, ...]
    command: str
    commit: str
    machine: str
    created: str


def origins(table: Table) -> list[Origin]:
    """Group the rows of a table by command, commit, machine and date."""
    groups: dict[tuple[str, str, str, str], list[str]] = {}
    for row in table.rows:
        groups.setdefault(row.origin, []).append(row.name)
    return [Origin(tuple(names), *key) for key, names in groups.items()]


def data_seen(table: Table) -> list[str]:
    """Describe the images measured on; where rows differ, with the methods that saw them."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in table.rows:
        groups[repr((row.data["description"], row.data["checksum"]))].append(row)
    said = [(", ".join(row.name for row in rows), _data(rows[0])) for rows in groups.values()]
    return [text if len(said) == 1 else f"{names}: {text}" for names, text in said]


def _data(row: Row) -> str:
    return f"{row.data['description']}; {row.data['image_rule']}"
