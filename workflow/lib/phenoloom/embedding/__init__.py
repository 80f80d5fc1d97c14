"""Embedding: from stored images and the weights of a model to a table of one vector per cell or site."""

from phenoloom.embedding.parts import load_parts
from phenoloom.embedding.table import embed, split_of_unit

__all__ = ["embed", "load_parts", "split_of_unit"]
