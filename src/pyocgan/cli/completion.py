"""`ocgan completion`: what makes a shell complete the command's words; loads no torch."""

from __future__ import annotations

from typing import Literal


def completion(shell: Literal["bash", "zsh", "fish"], /) -> None:
    """Print what makes a shell complete commands, flags and values at the Tab key.

    For bash, in ~/.bashrc: `source <(ocgan completion bash)`. For zsh, into a file `_ocgan` in a
    folder of `$fpath`; for fish, into `~/.config/fish/completions/ocgan.fish`.

    Parameters
    ----------
    shell
        bash, zsh or fish.
    """
    from . import app

    print(app.generate_completion(shell=shell))
