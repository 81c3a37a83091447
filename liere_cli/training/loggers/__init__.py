"""Experiment trackers that record training as it happens."""
