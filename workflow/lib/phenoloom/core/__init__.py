"""What every stage shares: tables, images, provenance, ledger, job context, names, wells, code fingerprints."""
