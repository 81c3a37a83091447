"""Training one model, from lock to summary."""
