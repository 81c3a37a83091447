"""Metrics of a trained model, at any length or resolution."""
