"""Tests that every position encoding must pass, those of third parties too.

    python -m liere_cli.conformance --encoding path/to/file.py:Class

runs pytest, which must be installed, on this folder and passes its flags on. Without
``--encoding`` all registered encodings are tested, installed ones included.
"""
