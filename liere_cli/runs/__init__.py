"""Run folders: identity, content, lock, checkpoints."""
