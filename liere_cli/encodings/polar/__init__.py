"""Encodings whose phases alone carry position."""
