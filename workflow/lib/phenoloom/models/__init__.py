"""Models that are trained here: a module per kind, with what it learns from a batch and how its batches are drawn."""
