"""What phenoloom asks a Slurm cluster: before a run whether it can go, during it what waits, after it what is left."""
