"""Items of sources on disk: their index, decoded arrays, and random access to encoded ones."""
