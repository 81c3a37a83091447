"""Clips of videos that are decoded as they are needed, and lists of videos."""
