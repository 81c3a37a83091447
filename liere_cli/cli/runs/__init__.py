"""Commands on runs that exist: list, show, remove, watch."""
