"""The commands of `python -m phenoloom`, a module each: `add` declares its arguments, `call` does it."""
