"""What reports show of single runs, read from their folders."""
