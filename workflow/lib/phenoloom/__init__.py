"""phenoloom: the library behind the workflow. Importing it costs nothing; each stage is a subpackage."""

__version__ = "0.1.0"
