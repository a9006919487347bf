"""The command `ocgan`: data on standard output, everything said about it on standard error.

Each command is a module; what loads torch, scikit-learn or matplotlib is imported inside the
functions that need it, so that `--help` and `info` answer at once.
"""

from __future__ import annotations

import errno
import io
import os
import re
import signal
import sys
import warnings
from collections.abc import Sequence

import cyclopts

from .. import __version__
from ..errors import ImageWarning, OcganError, UsageError, system_reason
from . import terminal
from .benchmark import app as benchmark_app
from .completion import completion
from .data import app as data_app
from .demo import demo
from .evaluate import evaluate
from .info import info
from .predict import STDIN, predict
from .report import report
from .suspects import suspects
from .train import train

EXIT_CODES = """
Exit codes: 0 done; 1 run-time error; 2 wrong usage; 3 no readable input, or with --fail-on-novel
an image that could not be read; 4 novelty found with --fail-on-novel; 130 interrupted (train and
benchmark: the same command goes on); 141 the reader of the output closed it.
"""
NO_MEMORY = re.compile("allocate memory|out of memory")  # as PyTorch says it, also of a GPU
SAYS_WHERE = ("train", "demo", "benchmark", "report")  # on standard output: results are files
PIPE_CLOSED = 141  # 128 and the number of SIGPIPE, as a shell says it


def _shown_default(value: object) -> object:
    """Show defaults in help texts, but not that a switch is off."""
    return None if value is False else value


app = cyclopts.App(
    name="ocgan",
    version=__version__,
    help="Learn one class of images; find what does not belong to it.",
    help_epilogue=EXIT_CODES.strip().replace("\n", " "),
    help_format="markdown",  # plain text would keep the docstrings' line breaks
    default_parameter=cyclopts.Parameter(show_default=_shown_default),
    suppress_keyboard_interrupt=False,  # `run` says what happened
)
for command in (demo, train):
    app.command(command)
app.command(predict, usage="Usage: ocgan predict [OPTIONS] MODEL IMAGES...")
app.command(evaluate, usage="Usage: ocgan evaluate [OPTIONS] MODEL [SOURCE]")
app.command(report, usage="Usage: ocgan report [OPTIONS] [FOLDER]")
app.command(info, usage="Usage: ocgan info [OPTIONS] [MODEL]")
data_app.command(suspects)
app.command(completion)
app.command(data_app)
app.command(benchmark_app)


class _Closed(io.StringIO):
    """A closed standard output: what should go there would be lost."""

    def write(self, text: str) -> int:
        advice = "name a file, or redirect it to /dev/null"
        raise OSError(errno.EBADF, f"standard output is closed: {advice}")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command and exit with its code; errors become one line on standard error."""
    argv = sys.argv[1:] if argv is None else argv
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # closed, as by >&-
            loses = name == "stdout" and (not argv or argv[0] not in SAYS_WHERE)
            setattr(sys, name, _Closed() if loses else io.StringIO())
    warnings.simplefilter("ignore", ImageWarning)  # of which there are notes
    for stream in (sys.stdin, sys.stdout):  # paths pass unchanged, whatever the locale
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="surrogateescape")
    code = run(argv)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # for what torch does as Python ends
    sys.exit(code)


def run(argv: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    try:
        words = [STDIN if word == "-" else _expanded(word) for word in argv]  # - is an option
        if any(map(_is_empty, words)):
            raise UsageError("an argument is empty, perhaps a shell variable without a value")
        if STDIN in words and argv[0] != predict.__name__:
            raise UsageError("- is for ocgan predict alone: name a file")
        code = app(words, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
    except cyclopts.CycloptsError as error:
        command = " ".join([app.name[0], *(error.command_chain or ())])
        return _fail(f"{_one_line(error)} (see {command} --help)", 2)
    except OcganError as error:
        return _fail(_one_line(error), error.exit_code)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except BrokenPipeError:  # as in `ocgan predict … | head`
        sys.stdout = None
        return PIPE_CLOSED
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not NO_MEMORY.search(str(error)):
            raise
        advice = "take smaller or fewer images, or less width"
        if argv[:1] == ["benchmark"]:
            advice += ", or a smaller --stack"
        return _fail(f"there is not enough memory: {advice}", 1)
    except OSError as error:  # as of a full disk
        sys.stdout = None
        where = "" if error.filename is None else f"{error.filename!r}: "
        if error.errno == errno.ENOSPC and error.filename is None:
            where = "cannot write the output: "
        return _fail(f"{where}{system_reason(error)}", OcganError.exit_code)
    return code if isinstance(code, int) else 0


def _is_empty(word: str) -> bool:
    """Say whether an argument, or the value behind --flag=, is nothing."""
    return re.fullmatch(r"(--[^=]*=)?", word) is not None


def _expanded(word: str) -> str:
    """Let ~ be the user's home after --out= as well, where a shell leaves it."""
    flag, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    return f"{flag}{equals}{os.path.expanduser(value)}"  # noqa: PTH111 - a word need be no path


def _fail(message: str, code: int) -> int:
    terminal.note(f"ocgan: {message}")
    return code


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
