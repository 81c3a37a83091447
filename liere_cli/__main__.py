"""``python -m liere_cli`` is ``liere``."""

from liere_cli.cli import main

if __name__ == "__main__":
    main()
