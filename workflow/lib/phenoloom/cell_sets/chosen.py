"""Which plates' cells are scored, and which scores are high. Light, for the rules import it when Snakemake starts."""

#: Combined relevance above which a cell counts among the most relevant ones of its well, and below which the least.
MOST, LEAST = 0.8, 0.2


def chosen_plates(plates, test_plates, number):
    """At most `number` of some plates: those of the test first, then the others, each by name.

    >>> chosen_plates(["P1", "P2", "P3"], ["P3"], 2)
    ['P3', 'P1']
    """
    test = set(map(str, test_plates))
    return sorted(plates, key=lambda plate: (plate not in test, plate))[:number]
