"""Reading of a batch's measurements (.h5): sites, image measurements, object tables and label masks."""

import contextlib
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from phenoloom.core.errors import InputError

_FIELDS = ("dataset", "batch", "plate", "well")


def read_sites(path):
    """Sites that were measured, in order: DataFrame with Metadata_Dataset, Batch, Plate, Well and Site (int)."""
    with _open(path) as file:
        return _sites(file)


def read_images(path):
    """One row per site: the columns of `read_sites` and Image_* measurements (numbers and text)."""
    with _open(path) as file:
        images = file["images"]
        numeric = pd.DataFrame(images["numeric"][:], columns=_texts(images["numeric_names"]))
        text = pd.DataFrame(
            np.array([[_text(cell) for cell in row] for row in images["text"][:]], dtype=object).reshape(
                images["text"].shape
            ),
            columns=_texts(images["text_names"]),
        )
        return pd.concat([_sites(file), pd.concat([numeric, text], axis=1).add_prefix("Image_")], axis=1)


def read_features(path):
    """{object: its features, sorted} of a batch, read without the values."""
    with _open(path) as file:
        return {name: _texts(group["features"]) for name, group in file["objects"].items()}


def read_objects(path, names=None):
    """{object: DataFrame}: ImageNumber (row of the site in `read_sites`, from 1), ObjectNumber and float32 features.

    names: the objects to read, all by default.
    """
    with _open(path) as file:
        found = {}
        for name, group in file["objects"].items():
            if names is not None and name not in names:
                continue
            frame = pd.DataFrame(group["values"][:], columns=_texts(group["features"]))
            counts = group["counts"][:]
            frame.insert(0, "ImageNumber", np.repeat(np.arange(1, len(counts) + 1), counts))
            frame.insert(1, "ObjectNumber", _object_numbers(frame, counts))
            found[name] = frame
        return found


def read_mask(path, well, site, name):
    """Label mask (H, W) of one object type at one site: 0 is background, n is the object with ObjectNumber n.

    Raises InputError when the batch holds no such mask; masks are kept for the objects named in
    features.cellprofiler.masks.
    """
    with _open(path) as file:
        sites = _sites(file)
        rows = np.flatnonzero((sites["Metadata_Well"] == well) & (sites["Metadata_Site"] == int(site)))
        key = f"masks/{name}/{rows[0]}" if len(rows) else None
        if key is None or key not in file:
            raise InputError(
                f"{path} holds no mask of {name} at {well} site {site}; name {name} under features.cellprofiler.masks"
            )
        return file[key][:]


@contextlib.contextmanager
def _open(path):
    if not Path(path).is_file():
        raise InputError(f"{path} does not exist; run the rule cellprofiler for its batch")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise InputError(f"{path} is no readable HDF5 file; remove it and run its batch again") from error
    with file:
        yield file


def _sites(file):
    columns = {f"Metadata_{name.capitalize()}": _texts(file["sites"][name]) for name in _FIELDS}
    return pd.DataFrame({**columns, "Metadata_Site": file["sites"]["site"][:]})


def _object_numbers(frame, counts):
    if "Number_Object_Number" in frame:
        return frame["Number_Object_Number"].to_numpy().astype(np.int64)
    return np.concatenate([np.arange(1, count + 1) for count in counts]) if len(counts) else np.array([], np.int64)


def _texts(dataset):
    return [_text(value) for value in dataset[:]]


def _text(value):
    return value.decode("utf-8") if isinstance(value, bytes) else value
