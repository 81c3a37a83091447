"""Comparisons as one self-contained HTML file each: no network, readable without JavaScript."""
