"""`ocgan demo`: the paper's motivating problem, on images that come with the installation."""

from __future__ import annotations

from pathlib import Path

from ..files import check_writable
from . import terminal
from .flags import Out, Quiet, Seed


def demo(
    *,
    out: Out = Path("demo"),
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Show why OCGAN: train it and an auto-encoder on the digit 8 alone.

    Uses scikit-learn's handwritten digits, so it needs no download, and takes about a
    minute.
    Prints the AUROC of every method for every digit, and draws a page, index.html, with what the
    two networks make of each digit.

    Parameters
    ----------
    out
        The folder for the page, its pictures and its data.
    seed
        Draws weights, noise and the images to learn from.
    quiet
        Show no progress.
    """
    import torch

    from ..demo import DIGITS, NORMAL_CLASS, STAGES, Demo
    from ..demo_page import write_demo_page

    check_writable(out)
    # Networks for 8×8 pixels: a second thread saves nothing on idle cores, and on busy ones, where
    # threads wait for each other, the demo took 198 s instead of 54 s.
    torch.set_num_threads(1)
    run = Demo(random_state=seed)
    for key, (title, _) in STAGES.items():
        terminal.note(f"training: {title}, on {len(run.train_rows)} images of 8")
        with terminal.display(quiet=quiet) as display:
            for progress in run.train(key):
                display.show(progress)
    run.measure_baselines()
    run.save(out)
    page = write_demo_page(out)
    novel = [c for c in DIGITS if c != NORMAL_CLASS]
    terminal.table(
        "AUROC, 8 against each digit", ["method", "all", *(f"vs {c}" for c in novel)], run.table()
    )
    print(f"\n{page}")
