"""What a run leaves behind about itself: its events, its failures, its provenance."""
