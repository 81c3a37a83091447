"""Ratios over seeds: costs of equal scores, and gains on one data set against another."""
