"""Rotating queries and keys."""
