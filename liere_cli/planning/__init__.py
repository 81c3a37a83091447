"""From a recipe or from finished runs to the runs of a comparison."""
