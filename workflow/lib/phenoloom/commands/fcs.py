"""`fcs`: what becomes of FCS files under each policy: version, instrument, size, and read or refused and why."""

from pathlib import Path

from phenoloom.core.errors import InputError

#: Endings of FCS files, which are looked for below folders; LMD are those of Beckman Coulter.
ENDINGS = (".fcs", ".lmd")


def add(parser):
    parser.add_argument("paths", nargs="+", type=Path, help="FCS files, or folders with .fcs and .lmd files")
    parser.add_argument("--format", choices=("markdown", "tsv"), default="markdown")


def call(given):
    from phenoloom.cytometry.fcs import fcs_table

    table = fcs_table(_files(given.paths))
    print(markdown(table) if given.format == "markdown" else table.to_csv(sep="\t", index=False), end="")
    return 0


def markdown(table):
    """A table as fcs.fcs_table makes it, in Markdown."""
    lines = ["| file | version | instrument ($CYT) | parameters x events | strict | lenient |", "|---" * 6 + "|"]
    for row in table.itertuples():
        size = f"{row.parameters} x {row.events:,}" if row.parameters else ""
        cells = [f"`{row.file}`", row.version, row.instrument, size, row.strict, row.lenient]
        lines.append("| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _files(paths):
    """The files, and those below the folders, in the order given."""
    found = []
    for path in paths:
        if not path.exists():
            raise InputError(f"{path} does not exist; name FCS files or folders")
        below = sorted(one for one in path.rglob("*") if one.suffix.lower() in ENDINGS and one.is_file())
        if path.is_dir() and not below:
            raise InputError(f"{path} has no file that ends in {' or '.join(ENDINGS)}; name the files themselves")
        found += below if path.is_dir() else [path]
    return found
