"""Recipes: validated settings, budgets, and the files they come from."""
