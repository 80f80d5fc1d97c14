"""What the instrument's FCS file says of a sample's events, and whether they are those of the images."""

import difflib
import logging
from fnmatch import fnmatchcase

import numpy as np
import pandas as pd

from phenoloom.core.errors import InputError
from phenoloom.core.words import count
from phenoloom.cytometry.compensation import read_spillover, read_spillover_csv
from phenoloom.cytometry.events import event_frames, patterns_of
from phenoloom.cytometry.fcs import read_header
from phenoloom.cytometry.joining import match_pages, verify_join

AREAS = "-A"

log = logging.getLogger("phenoloom")


class Instrument:
    """An FCS file, opened under a policy. options: block `events.fcs` of the config; deviations go to the ledger."""

    def __init__(self, path, options, ledger):
        self.path = path
        self.fcs = read_header(path, options["policy"], options["data_set"])
        for sentence in self.fcs.deviations:
            ledger.add(f"{path}: {sentence}", "flagged", unit="file")
        self.patterns = patterns_of(self.fcs, options["bit_patterns"])
        self.kept = _kept(self.fcs.names, options["parameters"], path)
        self.spillover = self._spillover(options["compensate"])

    def frames(self, names=None):
        """Yield (number of the first event, DataFrame) of some columns (those to keep) in chunks."""
        names = self.kept if names is None else names
        for start, frame in event_frames(self.fcs, self.patterns, spillover=self.spillover):
            yield start, frame[names]

    def areas(self, stop=None):
        """Pulse areas (N, A) of the first `stop` events (all)."""
        names = [name for name in self.fcs.names if name.endswith(AREAS)]
        parts, seen = [], 0
        for _, frame in self.frames(names):
            parts.append(frame)
            seen += len(frame)
            if stop is not None and seen >= stop:
                break
        return pd.concat(parts, ignore_index=True).iloc[:stop] if parts else pd.DataFrame(columns=names)

    def known(self, found, ledger):
        """Yield those of the Events found that the file knows; the others go to the ledger."""
        for event in found:
            if 0 <= event.number < self.fcs.n_events:
                yield event
            else:
                ledger.add(
                    f"image {event.name} is of no event: {self.path} has {self.fcs.n_events:,}; mend "
                    "events.first_event or the sample's fcs",
                    unit="event",
                    site=event.name,
                )

    def pages(self, channels, numbers, sums):
        """Page (0-based) of each channel, in order. channels: the dataset's block. sums: (n, P) of the first images.

        A channel's source is the number of a page, or a parameter (with or without `-A`) whose page is found by its
        areas. numbers: (n,) of the events. Raises InputError for a parameter that there is not or that no page follows.
        """
        asked = {name: block.get("source") or name for name, block in channels.items()}
        if all(source.isdigit() for source in asked.values()):
            return [self._page(int(source), sums) for source in asked.values()]
        areas = self.areas(max(numbers, default=-1) + 1).iloc[numbers].reset_index(drop=True)
        page_of = {match.parameter: match.page for match in match_pages(sums, areas)}
        return [
            self._page(int(source), sums) if source.isdigit() else self._followed(name, source, page_of)
            for name, source in asked.items()
        ]

    def verify(self, channels, pages, numbers, sums, options, ledger):
        """Make sure that image and event of each number are of one cell. Raises InputError where they are not.

        numbers, sums: of the events in the stack. pages: as `pages` found them. options: block `events.join`.
        """
        if not options["check"]:
            ledger.add("the join of images and events was not checked (events.join.check)", "flagged", unit="plate")
            return None
        whole = np.full((self.fcs.n_events, sums.shape[1]), np.nan)
        whole[numbers] = sums
        try:
            join = verify_join(whole, self.areas(), options["at_least"])
        except InputError as error:
            raise InputError(f"the images do not belong to the events of {self.path}: {error}") from error
        for match in join.matches:
            log.info("page %d follows %s, r = %.5f", match.page, match.parameter, match.r)
        if not join.verified:
            ledger.add(join.reason, "flagged", unit="plate")
        found = {match.parameter: match.page for match in join.matches}
        for (name, block), page in zip(channels.items(), pages, strict=True):
            source = block.get("source") or name
            parameter = next((one for one in (source, source + AREAS) if one in found), None)
            if parameter and found[parameter] != page:
                raise InputError(
                    f"channel {name}: page {page} follows {parameter} in the first events of {self.path}, page "
                    f"{found[parameter]} in all; give the number of its page as the channel's source"
                )
        if join.misfits:
            first = ", ".join(map(str, join.misfits[:5]))
            ledger.add(
                f"images that do not fit their event's pulses: {first} ...",
                "flagged",
                unit="event",
                count=len(join.misfits),
            )
        return join

    def missing(self, numbers, ledger):
        """Note how many events of the file have no image."""
        lacking = self.fcs.n_events - len(numbers)
        if lacking:
            ledger.add(
                f"{count(lacking, 'event')} of {self.path} without a usable image",
                "flagged",
                unit="event",
                count=lacking,
            )

    def _page(self, page, sums):
        if page >= sums.shape[1]:
            raise InputError(f"a channel's source is page {page}, but the images have {sums.shape[1]} pages (0-based)")
        return page

    def _followed(self, name, source, page_of):
        parameter = next((one for one in (source, source + AREAS) if one in self.fcs.names), None)
        if parameter is None:
            near = difflib.get_close_matches(source, self.fcs.names, 1, 0.4)
            hint = f"did you mean {near[0]!r}?" if near else "give one of them or the number of a page"
            raise InputError(f"channel {name}: {self.path} has no parameter {source!r}; {hint}")
        if parameter not in page_of:
            raise InputError(
                f"channel {name}: no page of the images follows {parameter} of {self.path}; give the number of its page"
            )
        return page_of[parameter]

    def _spillover(self, choice):
        if choice is False:
            return None
        found = read_spillover(self.fcs) if choice is True else read_spillover_csv(choice)
        if found is None:
            raise InputError(f"{self.path} holds no spillover matrix; name a CSV file in events.fcs.compensate")
        return found


def _kept(names, patterns, path):
    """Columns that match the patterns, in the file's order; all without patterns."""
    if patterns is None:
        return list(names)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise InputError(f"events.fcs.parameters: no parameter of {path} matches {pattern!r}")
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]
