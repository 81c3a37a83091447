"""Ways to train the runs of a plan: here, in worker processes, through Slurm."""
