"""Sets of cells: wells as a learned aggregation sees them, and the network that makes one profile of each."""
