"""The command `ocgan`: data on standard output, everything said about it on standard error.

Each command is a module; what needs torch is imported inside the functions that need it, so that
`--help` and `info` answer at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import cyclopts

from .. import __version__
from ..errors import OcganError
from .data import app as data_app
from .demo import demo
from .evaluate import evaluate
from .info import info
from .predict import predict
from .train import train

EXIT_CODES = """
Exit codes: 0 done; 1 run-time error; 2 wrong usage; 3 no readable input; 4 novelty found with
--fail-on-novel; 130 interrupted (a checkpoint is written first).
"""

app = cyclopts.App(
    name="ocgan",
    version=__version__,
    help="Learn one class of images; find what does not belong to it.",
    help_epilogue=EXIT_CODES.strip().replace("\n", " "),
    help_format="plaintext",
)
for command in (demo, train, predict, evaluate, info):
    app.command(command)
app.command(data_app)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command and exit with its code; errors become one line on standard error."""
    sys.exit(run(sys.argv[1:] if argv is None else argv))


def run(argv: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    try:
        code = app(argv, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
    except cyclopts.CycloptsError as error:
        return _fail(f"{_one_line(error)} (see ocgan --help)", 2)
    except OcganError as error:
        return _fail(_one_line(error), error.exit_code)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except BrokenPipeError:  # as in `ocgan predict … | head`
        sys.stdout = None
        return 0
    return code if isinstance(code, int) else 0


def _fail(message: str, code: int) -> int:
    print(f"ocgan: {message}", file=sys.stderr)
    return code


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
