"""``python -m pyocgan`` is ``ocgan``."""

import sys


def main() -> None:
    """Run the command; importing it can be interrupted, too."""
    try:
        from .cli import main as run

        run()
    except KeyboardInterrupt:
        print("ocgan: interrupted", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
