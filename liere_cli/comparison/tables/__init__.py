"""Tables of a comparison: one file an analysis."""
