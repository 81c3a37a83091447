"""Encodings that add to the token embeddings."""
