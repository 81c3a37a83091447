"""Exponentials of skew-symmetric matrices."""
