"""Networks that turn images of any number of channels into one vector each: built new, or loaded from weights."""
