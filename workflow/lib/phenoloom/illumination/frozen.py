"""Illumination functions that a study declares instead of having them estimated: checked, and put in their place.

They lie where estimated ones would lie, byte for byte as those where they were copied from there, so that freezing the
functions of a finished run changes no input of any job. No rule makes them: changed images leave them alone.
"""

import io
import json
import string
from pathlib import Path

import numpy as np

from phenoloom.core.errors import InputError
from phenoloom.core.files import write_if_changed, write_text
from phenoloom.core.names import decode
from phenoloom.core.words import count
from phenoloom.illumination.picture import preview

#: What is in place and where it came from; lies beside the functions.
RECORD = "frozen.json"
SHOWN = 10


def pattern_problem(pattern, channels):
    """What is wrong with a pattern of paths such as `frozen/{plate}/{channel}.npy`, in words; None when nothing is."""
    try:
        fields = {field for _, field, _, _ in string.Formatter().parse(pattern) if field is not None}
    except ValueError as error:
        return f"{pattern!r} is no pattern of paths ({error})"
    unknown = sorted(fields - {"plate", "channel"})
    if unknown:
        return f"{pattern!r} has the field {{{unknown[0]}}}; there are {{plate}} and {{channel}}"
    if "channel" not in fields and len(channels) > 1:
        return f"{pattern!r} lacks the field {{channel}}, so that all channels would have one function"
    return None


def settle(folder, pattern, plates, channels):
    """Put the declared functions of a dataset into the folder of its functions; return how many changed there.

    pattern: path with the fields {plate} (encoded) and {channel}, or None where functions are estimated: then declared
    ones of earlier are taken away, so that they are estimated again. plates: {encoded plate: (height, width) of its
    images}. Files that have not changed since are not read again.
    Raises InputError listing every function that is missing or cannot be used; nothing is changed then.
    """
    folder = Path(folder)
    before = read_record(folder)
    if pattern is None:
        return _release(folder, before)
    found, wrong = {}, []
    for plate, shape in plates.items():
        for channel in channels:
            try:
                found[plate, channel] = _look(folder, pattern, plate, channel, shape, before["functions"])
            except InputError as error:
                wrong.append(str(error))
    if wrong:
        more = [f"and {len(wrong) - SHOWN} more"] if len(wrong) > SHOWN else []
        number = count(len(wrong), "declared illumination function")
        raise InputError("\n  ".join([f"{number} cannot be used:", *wrong[:SHOWN], *more]))
    changed = 0
    for (plate, channel), entry in found.items():
        data = entry.pop("data", None)
        if data is not None:
            target = _target(folder, plate, channel)
            written = write_if_changed(target, data)
            entry.update(target_mtime_ns=target.stat().st_mtime_ns, replaced=written or entry["replaced"])
            changed += written
            if written:
                preview(np.load(io.BytesIO(data)), target.with_suffix(".png"), f"{decode(plate)}, {channel} (frozen)")
    functions = {f"{plate}/{channel}": entry for (plate, channel), entry in found.items()}
    _write_record(folder, before, {**before, "pattern": pattern, "functions": functions})
    return changed


def problems(pattern, plates, channels):
    """Sentences on the declared functions that are missing or cannot be used; arguments as those of `settle`."""
    found = []
    for plate, shape in plates.items():
        for channel in channels:
            try:
                read_function(_source(pattern, plate, channel), shape, _owner(plate, channel))
            except InputError as error:
                found.append(str(error))
    return found


def unsettled(folder, pattern):
    """Whether the functions in a folder are not those that the study asks for, so that `settle` must come first."""
    return read_record(folder)["pattern"] != pattern


def released(folder, plate):
    """How often declared functions of a plate were taken away again: what tells that they must be estimated anew."""
    return read_record(folder)["released"].get(plate, 0)


def read_record(folder):
    """{pattern, functions: {plate/channel: entry}, released: {plate: number}} of a folder; empty for none."""
    try:
        return json.loads((Path(folder) / RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {"pattern": None, "functions": {}, "released": {}}
    except ValueError as error:
        raise InputError(f"{Path(folder) / RECORD} is damaged; remove the folder {folder} and run again") from error


def _write_record(folder, before, record):
    if record != before:
        write_text(folder / RECORD, json.dumps(record, indent=1, ensure_ascii=False) + "\n")


def read_function(path, shape, of):
    """A function as the bytes of a float32 .npy file. shape: (height, width) due. of: whose it is, in words.

    Raises InputError, one sentence, for a file that is missing, no array, of another size, not finite or not positive.
    """
    remedy = "correct the file, or take 'functions' out of the dataset's illumination to have it estimated"
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}, the illumination function of {of}, cannot be read ({error.strerror}); {remedy}"
        ) from error
    try:
        function = np.load(io.BytesIO(data), allow_pickle=False)
        values = np.asarray(function, np.float32)
    except (ValueError, EOFError, TypeError, OSError) as error:
        raise InputError(f"{path}, the illumination function of {of}, is no array as .npy; {remedy}") from error
    if values.shape != tuple(shape):
        words = "x".join(map(str, values.shape[::-1]))
        raise InputError(
            f"{path} is {words} pixels where the images of {of} are {shape[1]}x{shape[0]} (width x height); {remedy}"
        )
    if not np.isfinite(values).all():
        raise InputError(f"{path}, the illumination function of {of}, holds NaN or infinity; {remedy}")
    if not (values > 0).all():
        raise InputError(
            f"{path}, the illumination function of {of}, is not above 0 everywhere, as a divisor must be; {remedy}"
        )
    if isinstance(function, np.ndarray) and function.dtype == np.float32 and function.flags.c_contiguous:
        return data
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(values), allow_pickle=False)
    return buffer.getvalue()


def _look(folder, pattern, plate, channel, shape, known):
    """Entry of one function: as it was where neither it nor its source changed, otherwise with its bytes as `data`."""
    path = _source(pattern, plate, channel)
    if path.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{path} lies in the results themselves; copy it elsewhere with `python -m phenoloom freeze`")
    old, target = known.get(f"{plate}/{channel}", {}), _target(folder, plate, channel)
    status = path.stat() if path.is_file() else None
    seen = {"source": str(path), "shape": list(shape)}
    if status:
        seen.update(size=status.st_size, mtime_ns=status.st_mtime_ns)
    in_place = target.is_file() and target.stat().st_mtime_ns == old.get("target_mtime_ns")
    if status and in_place and all(old.get(name) == value for name, value in seen.items()):
        return old
    data = read_function(path, shape, _owner(plate, channel))
    return {**seen, "replaced": old.get("replaced", False), "data": data}


def _release(folder, before):
    """Take away the functions that took the place of estimated ones; those that are the same may stay."""
    replaced = [name for name, entry in before["functions"].items() if entry["replaced"]]
    for name in replaced:
        for suffix in (".npy", ".png"):
            (folder / f"{name}{suffix}").unlink(missing_ok=True)
    counts = dict(before["released"])
    for plate in dict.fromkeys(name.split("/")[0] for name in replaced):
        counts[plate] = counts.get(plate, 0) + 1
    _write_record(folder, before, {"pattern": None, "functions": {}, "released": counts})
    return len(replaced)


def _source(pattern, plate, channel):
    return Path(pattern.format(plate=plate, channel=channel))


def _owner(plate, channel):
    return f"plate {decode(plate)}, channel {channel}"


def _target(folder, plate, channel):
    return folder / plate / f"{channel}.npy"
