"""Profiles: a chain of steps from cells (or a table that existed already) to wells and treatments."""
