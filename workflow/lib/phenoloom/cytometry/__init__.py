"""Cytometry: FCS files, their deviations and hidden integers, compensation, and the join of events with images."""
