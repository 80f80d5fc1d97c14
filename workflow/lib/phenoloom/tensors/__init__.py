"""Tensors: images as networks read them, fields or crops around cells, stored once as arrays of integers."""
