"""``python -m liere_cli.conformance``: runs pytest on the tests in this folder."""

import sys
from pathlib import Path

try:
    import pytest
except ModuleNotFoundError:
    sys.stderr.write("the conformance tests need pytest: pip install pytest\n")
    sys.exit(2)

if __name__ == "__main__":
    # the folder may belong to an installed package: write no cache into it
    sys.exit(pytest.main([str(Path(__file__).parent), "-p", "no:cacheprovider", *sys.argv[1:]]))
