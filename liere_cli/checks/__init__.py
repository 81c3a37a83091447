"""What ``liere check`` measures: the machine, and the results of its device; one file a check."""
