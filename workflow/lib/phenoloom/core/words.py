"""Words of sentences for people."""


def count(number, noun, plural=None):
    """'1 plate', '2 plates', '12,345 cells'."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
