"""``python -m nonsingular``."""

from nonsingular.cli import main

main()
