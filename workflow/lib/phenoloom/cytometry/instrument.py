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

#: Least correlation of a channel's page with its pulse area. Real pages are above 0.8, dim ones above 0.55; the best
#: page of a sample must reach `events.join.at_least`.
FOLLOWS = 0.5

log = logging.getLogger("phenoloom")


class Instrument:
    """An FCS file, opened under a policy; deviations go to the ledger.

    options: block `events.fcs` of the config. areas: how the names of pulse areas end. spillover: path of a matrix.
    """

    def __init__(self, path, options, ledger, areas, spillover=None):
        self.path, self.suffix = path, areas
        self.fcs = read_header(path, options["policy"], options["data_set"])
        for sentence in self.fcs.deviations:
            ledger.add(f"{path}: {sentence}", "flagged", unit="file")
        self.patterns = patterns_of(self.fcs, options["bit_patterns"])
        self.kept = _kept(self.fcs.names, options["parameters"], path)
        self.spillover = self._spillover(spillover or options["compensate"])

    def frames(self, names=None):
        """Yield (number of the first event, DataFrame) of some columns (those to keep) in chunks."""
        names = self.kept if names is None else names
        for start, frame in event_frames(self.fcs, self.patterns, spillover=self.spillover):
            yield start, frame[names]

    def areas(self, stop=None):
        """Pulse areas (N, A) float32 of the first `stop` events (all)."""
        names = [name for name in self.fcs.names if name.endswith(self.suffix)]
        areas = np.empty((self.fcs.n_events if stop is None else min(stop, self.fcs.n_events), len(names)), np.float32)
        for start, frame in self.frames(names):
            if start >= len(areas):
                break
            areas[start : start + len(frame)] = frame[: len(areas) - start]
        return pd.DataFrame(areas, columns=names)

    def known(self, found, ledger):
        """Yield those of the Events found that the file knows; the others go to the ledger."""
        for event in found:
            if 0 <= event.number < self.fcs.n_events:
                yield event
            else:
                ledger.add(
                    f"the image of event {event.number} (from 0) is of none: {self.path} has {self.fcs.n_events:,}; "
                    "mend events.first_event or the sample's fcs",
                    unit="event",
                    site=event.number,
                )

    def parameters(self, channels):
        """{channel: parameter} of the channels whose source is no number of a page. Raises InputError for none such."""
        sources = {name: _source(name, block) for name, block in channels.items()}
        return {name: self._parameter(name, source) for name, source in sources.items() if not source.isdigit()}

    def pages(self, channels, numbers, sums, options):
        """Page (0-based) of each channel, in order. channels: the dataset's block. sums: (n, P) of the first images.

        A channel's source is the number of a page, or a parameter (with or without its ending) whose page is found by
        its areas. numbers: (n,) of the events. options: block `events.join`. Raises InputError for a parameter that
        there is not or that no page follows, and says so where that is since images and events are not joined rightly.
        """
        parameters, page_of = self.parameters(channels), {}
        if parameters:
            areas = self.areas(numbers[-1] + 1).iloc[numbers].reset_index(drop=True)
            matches = match_pages(sums, areas, self.suffix)
            page_of = {match.parameter: match.page for match in matches if match.r >= FOLLOWS}
        if lost := [name for name, parameter in parameters.items() if parameter not in page_of]:
            if options["check"]:
                self._join(numbers, sums, options, numbers[-1] + 1)
            raise InputError(
                f"channel {lost[0]}: no page of the images follows {parameters[lost[0]]} of {self.path}; give the "
                "number of its page as its source, or another parameter"
            )
        pages = [
            page_of[parameters[name]] if name in parameters else int(_source(name, block))
            for name, block in channels.items()
        ]
        if max(pages) >= sums.shape[1]:
            raise InputError(
                f"a channel's source is page {max(pages)}, but the images have {sums.shape[1]} pages (0-based)"
            )
        return pages

    def verify(self, channels, pages, numbers, sums, options, ledger):
        """Make sure that image and event of each number are of one cell. Raises InputError where they are not.

        numbers (n,), sums (n, P): of the events in the stack. pages: as `pages` found them. options: block
        `events.join`.
        """
        if not options["check"]:
            ledger.add("the join of images and events was not checked (events.join.check)", "flagged", unit="plate")
            return None
        join = self._join(numbers, sums, options)
        for match in join.matches:
            log.info("page %d follows %s, r = %.5f", match.page, match.parameter, match.r)
        if not join.verified:
            ledger.add(join.reason, "flagged", unit="plate")
        found = {match.parameter: match.page for match in join.matches}
        parameters = self.parameters(channels)
        for name, page in zip(channels, pages, strict=True):
            parameter = parameters.get(name)
            if found.get(parameter, page) != page:
                raise InputError(
                    f"channel {name}: page {page} follows {parameter} in the first events of {self.path}, page "
                    f"{found[parameter]} in all; give the number of its page as the channel's source"
                )
        if join.misfits:
            first = ", ".join(map(str, join.misfits[:5])) + (", ..." if len(join.misfits) > 5 else "")
            ledger.add(
                f"images that do not fit their event's pulses: {first}",
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

    def _join(self, numbers, sums, options, stop=None):
        """joining.Join of the first `stop` events (all) to the sums of images of some of them. Raises InputError."""
        areas = self.areas(stop)
        whole = np.full((len(areas), sums.shape[1]), np.nan)
        whole[numbers] = sums
        try:
            return verify_join(whole, areas, options["at_least"], self.suffix)
        except InputError as error:
            raise InputError(f"the images do not belong to the events of {self.path}: {error}") from error

    def _parameter(self, name, source):
        parameter = next((one for one in (source, source + self.suffix) if one in self.fcs.names), None)
        if parameter is None:
            raise InputError(
                f"channel {name}: {self.path} has no parameter {source!r}; {_nearest(source, self.fcs.names)}"
            )
        return parameter

    def _spillover(self, choice):
        if choice is False:
            return None
        found = read_spillover(self.fcs) if choice is True else read_spillover_csv(choice)
        if found is None:
            raise InputError(f"{self.path} holds no spillover matrix; name a CSV file in events.fcs.compensate")
        return found


def _source(name, block):
    """What a channel is asked for by: its source, or its name."""
    return block.get("source") or name


def _kept(names, patterns, path):
    """Columns that match the patterns, in the file's order; all without patterns."""
    if patterns is None:
        return list(names)
    for pattern in patterns:
        if not any(_fits(name, pattern) for name in names):
            raise InputError(
                f"events.fcs.parameters: no parameter of {path} matches {pattern!r}; {_nearest(pattern, names)}"
            )
    return [name for name in names if any(_fits(name, pattern) for pattern in patterns)]


def _fits(name, pattern):
    """Whether a name is meant; names of parameters may hold the characters of patterns."""
    return name == pattern or fnmatchcase(name, pattern)


def _nearest(name, names):
    near = difflib.get_close_matches(name, names, 1, 0.4)
    return f"did you mean {near[0]!r}?" if near else f"it has {', '.join(names)}"
