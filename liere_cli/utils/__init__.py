"""Files, paths, seeds, signals and processes."""
