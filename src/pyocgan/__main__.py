"""``python -m pyocgan`` is ``ocgan``."""

from .cli import main

main()
