"""Tests that every position encoding must pass, those of third parties too.

    python -m pytest --pyargs liere_cli.conformance --encoding path/to/file.py:Class

Without ``--encoding`` they run over the whole registry. pytest must be installed beside liere.
"""
