"""The honest sentences: who is ahead in the mean, by how much, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from .layout import Intervals, interval_text
from .tables import Row, Table, best, dataset_title


@dataclass(frozen=True)
class Verdict:
    """The best OCGAN beside the best method without training; either may be missing.

    ``lead`` is the difference of the means as printed, never negative; ``overlap`` is whether
    the intervals of the two overlap, None where they are not known.
    """

    ahead: Literal["ocgan", "free", "level", "alone", "none"]
    ours: Row | None
    free: Row | None
    lead: float = 0.0
    overlap: bool | None = None

    @property
    def spread(self) -> float:
        """The larger deviation of the two means over seeds, 0 where both have one seed."""
        return max((row.std or 0.0 for row in (self.ours, self.free) if row), default=0.0)

    @property
    def is_within_seeds(self) -> bool:
        """Whether other seeds might turn the order."""
        return 0 < self.lead <= self.spread


def verdict(table: Table, intervals: Intervals | None = None) -> Verdict:
    """Compare the means to the fourth decimal, as they are printed."""
    ours, free = best(table.ours), best(table.of_kind("baseline"))
    if ours is None or free is None:
        return Verdict("none" if ours is None else "alone", ours, free)
    lead = round(round(ours.mean, 4) - round(free.mean, 4), 4)
    overlap = None
    if intervals is not None:
        overlap = intervals[ours.name].overlaps(intervals[free.name])
    ahead: Literal["ocgan", "free", "level"] = (
        "ocgan" if lead > 0 else "free" if lead < 0 else "level"
    )
    return Verdict(ahead, ours, free, abs(lead), overlap)


def headline(found: Verdict) -> str:
    """Say in a few words who is ahead."""
    spread = ", within the spread over seeds" if found.is_within_seeds else ""
    unsure = ", within the uncertainty" if found.overlap else spread
    return {
        "ocgan": f"OCGAN is ahead of every method without training{unsure}.",
        "free": f"A method without training is ahead of OCGAN{unsure}.",
        "level": "OCGAN and the best method without training are level.",
        "alone": "No method without training was measured here.",
        "none": "OCGAN was not trained here.",
    }[found.ahead]


def sentences(table: Table, found: Verdict, intervals: Intervals | None = None) -> str:
    """Say it in numbers: means, lead, intervals, and the printed mean beside the best measured."""
    return " ".join(
        [
            *_comparison(table, found),
            *_certainty(found, intervals),
            *_parts(table, found),
            *_beside_printed(table),
        ]
    )


def _comparison(table: Table, found: Verdict) -> list[str]:
    ours, free, top = found.ours, found.free, best(table.rows)
    if ours is None or free is None:
        return [f"The best measured is {top.title}, {top.mean:.4f} in the mean."] if top else []
    first, second = (free, ours) if found.ahead == "free" else (ours, free)
    text = (
        f"{first.title} and {second.title} reach {first.mean:.4f} in the mean."
        if found.ahead == "level"
        else f"{first.title} reaches {first.mean:.4f} in the mean, {second.title} "
        f"{second.mean:.4f}, {found.lead:.4f} less."
    )
    said = [text]
    if found.is_within_seeds:
        said.append(f"From seed to seed the means deviate by up to {found.spread:.4f}.")
    rivals = (
        (ours, len(table.ours), "whole OCGANs"),
        (free, len(table.of_kind("baseline")), "methods without training"),
    )
    return said + [
        f"{row.title} stands for {number} {kind}, as the highest of them on these test images."
        for row, number, kind in rivals
        if number > 1
    ]


def _certainty(found: Verdict, intervals: Intervals | None) -> list[str]:
    if found.overlap is None or intervals is None or found.ours is None or found.free is None:
        return []
    first, second = (found.free, found.ours) if found.ahead == "free" else (found.ours, found.free)
    texts = [interval_text(intervals[row.name]) for row in (first, second)]
    verb = "overlap" if found.overlap else "do not overlap"
    meaning = " other test images might turn the order." if found.overlap else ""
    return [
        f"Their 95\u202f% intervals, {texts[0]} and {texts[1]}, {verb}{':' if meaning else '.'}"
        f"{meaning}"
    ]


def _parts(table: Table, found: Verdict) -> list[str]:
    """Say so if a stage of the ablation does better than OCGAN itself."""
    part = best(row for row in table.of_kind("ocgan") if not row.is_whole)
    if found.ours is None or part is None or round(part.mean, 4) <= round(found.ours.mean, 4):
        return []
    return [f"A part of OCGAN alone does better than all of it: {part.title}, {part.mean:.4f}."]


def _beside_printed(table: Table) -> list[str]:
    """Compare the best of each kind with the printed mean, to the digits that are printed."""
    if table.printed is None:
        return []
    number = table.printed.mean
    digits = len(number.partition(".")[2])
    parts = []
    for row in filter(None, (best(table.ours), best(table.of_kind("baseline")))):
        gap = round(round(row.mean, digits) - float(number), digits)
        side = f"{abs(gap):.{digits}f} {'above' if gap > 0 else 'below'}" if gap else "equal to"
        parts.append(f"{row.title} is {side} it")
    return [f"The paper prints {number} for OCGAN: {', '.join(parts)}."] if parts else []


def notes(table: Table) -> list[str]:
    """Say what keeps the numbers of a table from being compared as they stand."""
    lines = []
    for caveat in caveats(table):
        beside = " The printed row comes from the official files." if table.printed else ""
        lines.append(f"The data measured on here: {caveat}.{beside}")
    seen = [row.data.get("checksum") for row in table.rows]  # of pixels, as methods see them
    if any(one != other for one, other in pairwise(seen)):
        lines.append("Not all rows were measured on the same pixels: see the lines below.")
    if not table.of_kind("baseline"):
        lines.append(
            "A method without training belongs into this table: ocgan benchmark --dataset "
            f"{table.dataset} --protocol {table.protocol} --method "
            "knn,knn_cosine,knn_gradients,pca measures four."
        )
    return lines


def caveats(table: Table) -> list[str]:
    """Return how the images of a named data set differ from the official ones, as described."""
    return sorted({_caveat(table, row) for row in table.rows} - {""})


def _caveat(table: Table, row: Row) -> str:
    before, found, rest = str(row.data.get("description")).partition(" (")
    return rest.partition(")")[0] if found and before == dataset_title(table.dataset) else ""


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
    groups: dict[str, list[str]] = {}
    for row in table.rows:
        text = f"{row.data.get('description')}; {row.data.get('image_rule')}"
        groups.setdefault(text, []).append(row.name)
    if len(groups) == 1:
        return list(groups)
    return [f"{', '.join(names)}: {text}" for text, names in groups.items()]
