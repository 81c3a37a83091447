"""Data sets from outside: of the Hugging Face hub, and of the user's own code."""
