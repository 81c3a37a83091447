"""Volumes: NIfTI, NumPy and zarr files, read as a whole or in patches."""
