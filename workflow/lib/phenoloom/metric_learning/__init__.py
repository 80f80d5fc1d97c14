"""Metric learning on tables of single cells: a chain of split, selection, scaling, PCA and a learned linear map."""
