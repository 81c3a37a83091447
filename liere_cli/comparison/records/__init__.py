"""Scores that were measured elsewhere: checked records, read from files or given by Python."""
