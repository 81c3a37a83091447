"""The public functions: what ``import liere_cli`` offers, and what the commands call."""
