"""The grid data set × class × seed × method: one result file a cell, resumable, shared safely.

A cell is ``DIR/<data set>/protocol<1|2|dev>/<method>/class-<name>-seed<n>.json`` and, beside it, a
``.npz`` file with the score of every image tested. `summarise` makes a table's file of them.
"""

from .cells import Cell, finished, provenance
from .estimate import estimated_seconds
from .grid import Outcome, busy, check_executor, plan, run, unfinished, unsure_claims
from .images import Pool, Trial, open_pool, pool_name
from .results import Result, read_scores
from .summary import summarise

__all__ = [
    "Cell",
    "Outcome",
    "Pool",
    "Result",
    "Trial",
    "busy",
    "check_executor",
    "estimated_seconds",
    "finished",
    "open_pool",
    "plan",
    "pool_name",
    "provenance",
    "read_scores",
    "run",
    "summarise",
    "unfinished",
    "unsure_claims",
]
