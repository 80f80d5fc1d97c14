"""How a network is trained: batches by step, views, schedules, the loop with its checkpoints and logs, the card."""
