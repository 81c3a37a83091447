"""Files in class folders: what is there, what it means, and its items."""
