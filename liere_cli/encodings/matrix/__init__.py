"""Encodings that rotate blocks of channels by matrices."""
