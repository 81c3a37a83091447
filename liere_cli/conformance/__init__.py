"""Tests that every position encoding must pass, those of third parties too.

    python -m liere_cli.conformance --encoding path/to/file.py:Class

is pytest, which must be installed beside liere, on this folder: all of its flags work. Without
``--encoding`` the tests run over the whole registry, installed encodings included.
"""
