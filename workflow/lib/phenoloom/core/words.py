"""Words of sentences for people."""


def count(number, noun, plural=None):
    """'1 plate', '2 plates', '12,345 cells'."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def duration(seconds):
    """'0.4 s', '12 s', '3 min 20 s', '2 h 05 min'; '–' for NaN."""
    if seconds != seconds:
        return "–"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    if seconds < 3599.5:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest:02d} s"
    hours, rest = divmod(round(seconds / 60), 60)
    return f"{hours:,} h {rest:02d} min"
