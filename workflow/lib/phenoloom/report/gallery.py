"""A folder of figures: each as SVG, PNG and Parquet, with a list that says in words what each shows."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from phenoloom.core.files import write_text
from phenoloom.core.tables import write_arrow
from phenoloom.report import style

#: File in the folder that lists its figures.
CONTENTS = "figures.json"


@dataclass(frozen=True)
class Entry:
    """One figure: file stem, title, caption, kind (chart or image), group of pages, page (0 first), size in inches."""

    name: str
    title: str
    caption: str
    kind: str
    group: str
    page: int
    width: float
    height: float


class Gallery:
    """Collects the figures of one job in `folder`; `notes` say what could not be shown and why."""

    def __init__(self, folder, origin=None):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.origin = origin
        self.entries = []
        self.notes = []

    def add(self, name, figure, data, title, caption, kind="chart", group="", page=0):
        """Save a figure with its data (DataFrame) under `name`; `caption` says what it shows, how computed, and n."""
        stem = self.folder / name
        style.save(figure, stem)
        write_arrow(f"{stem}.parquet", data, self.origin)
        width, height = (float(size) for size in figure.get_size_inches())
        self.entries.append(Entry(name, title, caption, kind, group or name, page, width, height))

    def note(self, text):
        """Say that something is not shown, and why."""
        self.notes.append(text)

    def write(self):
        """Write the list of figures; the last thing a job does."""
        contents = {"figures": [asdict(entry) for entry in self.entries], "notes": self.notes}
        write_text(self.folder / CONTENTS, json.dumps(contents, indent=1, ensure_ascii=False) + "\n")


def read_gallery(folder):
    """(list of Entry, list of notes) of a folder that a Gallery wrote."""
    contents = json.loads((Path(folder) / CONTENTS).read_text(encoding="utf-8"))
    return [Entry(**entry) for entry in contents["figures"]], contents["notes"]


def pages(items, size):
    """Split a list into lists of at most `size`.

    >>> [len(page) for page in pages(list(range(13)), 12)]
    [12, 1]
    """
    return [items[start : start + size] for start in range(0, len(items), size)]
