"""Token coordinates."""
