"""Labels of events from the gates of a FlowJo workspace, which FlowKit, an optional dependency, applies to them."""

import contextlib
import difflib
import io
from pathlib import Path
from urllib.parse import unquote

import numpy as np

from phenoloom.core.errors import InputError
from phenoloom.cytometry.events import event_frame, event_frames
from phenoloom.cytometry.fcs import read_events

#: The version that this module was tried with; workflow/envs/flowkit.txt pins it too.
FLOWKIT = "1.3.2"

#: Values of events that are gated at a time. FlowKit holds each as a Python number for a moment.
VALUES = 1_000_000

#: Share of a gate's events, and number, by which FlowJo and FlowKit may differ: they round curves differently.
DIFFERS, FEW = 0.02, 5


class Gates:
    """The gates of a workspace that give the events of one FCS file their labels.

    path: of the .wsp; None where the sample names none. fcs: fcs.Fcs. wanted: block `events.gates`, {name: [gates]}.
    Compensation and scales are those of the workspace, events those that our reader gives, before any compensation.
    Raises InputError where FlowKit is missing, where the workspace cannot be read, lacks the file or a gate or has
    several of one name, and where FlowKit cannot apply the gates to the file's parameters.
    """

    def __init__(self, path, fcs, wanted):
        if not path:
            raise InputError(
                "events.gates needs a FlowJo workspace; name it in the column 'workspace' of the table of samples"
            )
        self.path, self.fcs, self.wanted = path, fcs, wanted
        self.flowkit, etree = _import_flowkit(path)
        root = _parse(path, etree)
        element = _sample_of(root, fcs, path)
        node = element.find("SampleNode")
        self.sample, self.counts = node.get("name"), dict(_counts(node))
        with self._reading():
            self.strategy = self.flowkit.parse_wsp(_alone(root, element, etree))["samples"][self.sample][
                "gating_strategy"
            ]
            known = {"/".join((*above, name)): (name, above) for name, above in self.strategy.get_gate_ids()}
        where = f"{path}, sample {self.sample}"
        paths = {gate: _find(gate, list(known), where) for gates in wanted.values() for gate in gates}
        #: {gate as the study names it: (its path, its name, those above it)}
        self.gates = {gate: (path, *known[path]) for gate, path in paths.items()}
        self._inside(
            event_frame(fcs, read_events(fcs, 0, 1))
        )  # what FlowKit cannot do is said before the images are read

    def labels(self, numbers, ledger):
        """{"Metadata_Name": (n,) text or None} of events: the gate that holds each.

        numbers: (n,) rows of the FCS file. An event in none of the gates listed has no label, nor has one in several,
        which goes to the ledger as flagged, as does a gate that holds other events than FlowJo counted in it.
        """
        rows = max(1, VALUES // len(self.fcs.names))
        inside = np.concatenate([self._inside(frame) for _, frame in event_frames(self.fcs, rows=rows)])
        self._compare(inside, ledger)
        found, places = {}, list(self.gates)
        for name, gates in self.wanted.items():
            own = inside[numbers][:, [places.index(gate) for gate in gates]]
            times = own.sum(axis=1)
            words = np.array([*_called(gates), None], dtype=object)
            found[f"Metadata_{name}"] = words[np.where(times == 1, own.argmax(axis=1), len(gates))]
            which = f"gate of events.gates.{name} in {self.path}"
            if several := np.count_nonzero(times > 1):
                ledger.add(f"events in more than one {which}: no label", "flagged", unit="event", count=several)
            if not times.any():
                ledger.add(f"no event is in a {which}", "flagged", unit="event", count=len(numbers))
        return found

    def _inside(self, frame):
        """(n, gates) whether events are in each gate. frame: DataFrame of their values on linear scales."""
        # FlowJo writes slashes in names of parameters as underscores.
        frame = frame.rename(columns=lambda name: name.replace("/", "_"))
        with self._reading():
            sample = self.flowkit.Sample(frame, sample_id=self.sample, subsample=1)
            results = self.strategy.gate_sample(sample)
            members = [results.get_gate_membership(name, above) for _, name, above in self.gates.values()]
        return np.stack(members, axis=1)

    def _compare(self, inside, ledger):
        """Flag gates that hold other events than FlowJo counted: the workspace may be of another file."""
        held = {
            path: np.count_nonzero(column) for (path, *_), column in zip(self.gates.values(), inside.T, strict=True)
        }
        for path, number in {"root": len(inside), **held}.items():
            due = self.counts.get(path)
            if due is not None and abs(number - due) > max(FEW, DIFFERS * due):
                ledger.add(
                    f"{self.path}: the gate {path} holds {number:,} events of {self.fcs.path}, but {due:,} by FlowJo; "
                    "check that the workspace is of this file",
                    "flagged",
                    unit="event",
                    count=abs(number - due),
                )

    @contextlib.contextmanager
    def _reading(self):
        try:
            yield
        except Exception as error:  # FlowKit raises whatever a file it does not take leads to
            why = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise InputError(
                f"{self.path}: FlowKit cannot use the gates of sample {self.sample} ({why}); change them in FlowJo, or "
                "give labels in a table of events"
            ) from error


def _import_flowkit(path):
    """(flowkit, lxml.etree), which comes with it."""
    try:
        import flowkit
        from lxml import etree
    except ImportError as error:
        raise InputError(
            f"{path}: install flowkit=={FLOWKIT}, an optional dependency, to read FlowJo workspaces"
        ) from error
    return flowkit, etree


def _parse(path, etree):
    """Root element of a workspace; nothing that its XML names is fetched or expanded."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, remove_comments=True, remove_pis=True)
    try:
        with open(path, "rb") as file:
            tree = etree.parse(file, parser)
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}); correct the sample's column 'workspace'"
        ) from error
    except etree.XMLSyntaxError as error:
        raise InputError(f"{path} is no workspace that can be read ({error.msg}); save it again in FlowJo") from error
    if tree.docinfo.doctype:
        raise InputError(f"{path} declares entities or a document type, which FlowJo does not; save it again there")
    root = tree.getroot()
    if root.find("SampleList") is None or not root.get("flowJoVersion"):
        raise InputError(f"{path} is no FlowJo workspace; save one in FlowJo 10 as .wsp")
    return root


def _sample_of(root, fcs, path):
    """The element of the sample that an FCS file is, by the file's name or else by its $FIL."""
    samples = {
        one: _names(one) for one in root.iterfind("SampleList/Sample") if one.find("SampleNode[@name]") is not None
    }
    for name in filter(None, (Path(fcs.path).name, fcs.keywords.get("fil", "").strip())):
        found = [one for one, names in samples.items() if name in names]
        if len(found) > 1:
            raise InputError(f"{path} has the file {name} more than once; take the others out of the workspace")
        if found:
            return found[0]
    known = [names[0] for names in samples.values()]
    more = f" and {len(known) - 5} more" if len(known) > 5 else ""
    raise InputError(
        f"{path} has no sample of {fcs.path}; it has {', '.join(known[:5]) or 'none'}{more}: correct the sample's "
        "column 'workspace', or add the file in FlowJo"
    )


def _names(sample):
    """Name of a sample, and of its file."""
    data_set = sample.find("DataSet")
    uri = data_set.get("uri", "") if data_set is not None else ""
    return sample.find("SampleNode").get("name"), unquote(uri).rpartition("/")[2]


def _alone(root, sample, etree):
    """File of the workspace with one sample only: what FlowKit cannot read in others does not matter."""
    for place in ("Groups", "SampleList"):
        for child in root.findall(f"{place}/*"):
            if child is not sample:
                child.getparent().remove(child)
    return io.BytesIO(etree.tostring(root))


def _counts(node, path="root"):
    """Yield (path of a gate, number of its events as FlowJo counted them) where it did, below a node and of itself."""
    count = node.get("count", "")
    if count.isdecimal() and len(count) < 20:
        yield path, int(count)
    for child in node.findall("Subpopulations/*"):
        yield from _counts(child, f"{path}/{child.get('name')}")


def _find(gate, known, where):
    """The one path that a gate's name, path or end of a path means."""
    found = [path for path in known if f"/{path}".endswith(f"/{gate.strip('/')}")]
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(f"{where}: the gate {gate!r} is there as {' and '.join(found)}; give its path in events.gates")
    names = {name: None for path in known for name in (path.rpartition("/")[2], path)}
    near = difflib.get_close_matches(gate, names, 1, 0.4)
    hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(known) or 'none'}"
    raise InputError(f"{where} has no gate {gate!r}; {hint}")


def _called(gates):
    """The labels that gates stand for: their names, or as the study writes them where two have one name."""
    names = [gate.rpartition("/")[2] for gate in gates]
    return [name if names.count(name) == 1 else gate for name, gate in zip(names, gates, strict=True)]
