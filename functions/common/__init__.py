"""What two or more steps import, and nothing else."""
