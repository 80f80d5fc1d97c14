"""Evenly spaced choices. Light on purpose: the rules import it whenever Snakemake starts."""


def spread(items, number):
    """`number` items evenly spaced over a list, the first and the last among them.

    >>> spread(list("abcdefg"), 3)
    ['a', 'd', 'g']
    """
    if len(items) <= number:
        return list(items)
    if number < 2:
        return list(items[:number])
    return [items[round(step * (len(items) - 1) / (number - 1))] for step in range(number)]
