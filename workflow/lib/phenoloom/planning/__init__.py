"""What a run will cost: its jobs before they run, how much each has to do, and at what rate jobs were seen to do it."""
