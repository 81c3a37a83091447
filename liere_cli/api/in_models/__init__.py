"""Encodings in models of other libraries, one file for each library."""
