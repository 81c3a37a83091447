"""Plots of comparisons and encodings, with matplotlib."""
