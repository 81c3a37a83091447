"""``python -m liere_cli.conformance``: pytest on the tests beside this file."""

import sys
from pathlib import Path

import pytest

if __name__ == "__main__":
    # the folder may be an installed package: nothing is to be written into it
    sys.exit(pytest.main([str(Path(__file__).parent), "-p", "no:cacheprovider", *sys.argv[1:]]))
