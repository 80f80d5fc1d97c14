"""Around a run: what an earlier one left behind, what this machine has, what is run once more."""
