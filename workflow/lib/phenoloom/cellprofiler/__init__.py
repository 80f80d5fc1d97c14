"""CellProfiler on batches of sites: what a pipeline asks for, load_data.csv, supervised runs, measurements."""
