"""The single-cell table: compartments joined per site, filters per cell, counted losses."""
