"""`ocgan data`: the named data sets, getting them, and looking at a source before training."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path

import cyclopts

from ..config import Config
from ..data import NAMED, Part, UnreadableImage, copies_note, open_source, read_inferred
from ..data import fetch as fetch_named
from ..data.named import named_folder, require_named
from ..errors import InputError
from . import terminal
from .flags import AsJson, DataRoot

MOST_REASONS = 10  # of unreadable images that are named

app = cyclopts.App(name="data", help="List, fetch and describe data sets.", help_format="markdown")


@app.default
def listing(*, data_root: Path | None = None, as_json: AsJson = False) -> None:
    """List the named data sets and whether they are here.

    Parameters
    ----------
    data_root
        Where they lie (default: $OCGAN_DATA_ROOT, or the user's cache).
    as_json
        Print JSON, one object a line, instead of a table.
    """
    folders = {name: named_folder(data_set, data_root) for name, data_set in NAMED.items()}
    here = {name: bool(NAMED[name].form_in(folder)) for name, folder in folders.items()}
    if as_json:
        write = terminal.row_writer(sys.stdout, ("name", "title", "folder"), as_json=True)
        for name, folder in folders.items():
            write((name, NAMED[name].title, str(folder) if here[name] else None))
        return

    def place(name: str) -> str:
        if not NAMED[name].forms:
            return "built in"
        return str(folders[name]) if here[name] else f"ocgan data fetch {name}"

    rows = [[name, data_set.title, place(name)] for name, data_set in NAMED.items()]
    terminal.table("", ["name", "title", "where"], rows)


@app.command
def fetch(name: str, /, *, data_root: Path | None = None) -> None:
    """Download a data set from its official source and check it.

    Or from a mirror, the address $OCGAN_MIRROR, which holds the same files as a data root does.

    Parameters
    ----------
    name
        mnist, fashion_mnist, cifar10 or coil100.
    data_root
        Where to put it (default: $OCGAN_DATA_ROOT, or the user's cache).
    """
    if not require_named(name).files:
        terminal.note(f"{name} comes with scikit-learn: there is nothing to fetch")
        return
    print(fetch_named(name, data_root, progress=True))
    terminal.note(require_named(name).note)


@app.command
def describe(
    source: str,
    /,
    *,
    split: Part = "train",
    data_root: DataRoot = None,
    as_json: AsJson = False,
) -> None:
    """Say what a source is taken for: how many images, which classes, which size.

    All images are decoded: those that `ocgan train` could not read are counted, and the first ten
    of them named.

    Parameters
    ----------
    source
        A folder, file or name, as for `ocgan train`.
    split
        Which part of it.
    as_json
        Print JSON, with every unreadable image.
    """
    opened = open_source(source, split=split, data_root=data_root)
    rule, notes, images = read_inferred(opened, skip_unreadable=True)
    taken = rule.describe(Config().network_side)
    copies = copies_note(images, images.distinct(), learned=split != "test")
    if split == "test":
        with suppress(InputError):  # there is no training part
            if opened.names == open_source(source, split="train", data_root=data_root).names:
                terminal.note("it has no test part: these are all of its images")
    counts = None if opened.labels is None else Counter(opened.labels.tolist())
    if as_json:
        content = {
            "source": opened.description,
            "images": len(opened),
            "classes": counts and {name: counts[name] for name in opened.classes},
            "copies": len(images) - len(images.distinct()),
            "image_rule": rule.to_dict(),
            "notes": notes,
            "unreadable": [{"path": name, "reason": why} for name, why in images.skipped],
        }
        print(terminal.json_text(content))
        return
    print(opened.description, f"images would be {taken}", *notes, *copies, sep="\n")
    if counts is not None:
        terminal.table("", ["class", "images"], [[c, f"{counts[c]:,}"] for c in opened.classes])
    unreadable = [str(UnreadableImage(name, reason)) for name, reason in images.skipped]
    if unreadable:
        first = f", the first {MOST_REASONS}" if len(unreadable) > MOST_REASONS else ""
        terminal.note(f"{len(unreadable):,} of {len(opened):,} images cannot be read{first}:")
        terminal.note(*unreadable[:MOST_REASONS])
