"""Measurements of a batch on disk: one whole .npz per finished site, joined into one .h5 at the end.

Works on Python 3.9, for it runs in the CellProfiler environment.
"""

import os
import tempfile

import h5py
import numpy as np

#: Version of the layout of the .h5 file.
LAYOUT = 1


def write_site(folder, number, images, objects, masks):
    """Write one site's measurements whole or not at all.

    images: {feature: number or text}. objects: {object: {feature: array of n values}}. masks: {object: 2-D labels}.
    """
    arrays = {}
    numeric = {name: value for name, value in images.items() if not isinstance(value, str)}
    text = {name: value for name, value in images.items() if isinstance(value, str)}
    arrays["numeric_names"] = np.array(sorted(numeric), dtype=str)
    arrays["numeric"] = np.array([numeric[name] for name in sorted(numeric)], dtype=float)
    arrays["text_names"] = np.array(sorted(text), dtype=str)
    arrays["text"] = np.array([text[name] for name in sorted(text)], dtype=str)
    for name, features in objects.items():
        arrays[f"features/{name}"] = np.array(sorted(features), dtype=str)
        arrays[f"values/{name}"] = _matrix(features)
    for name, labels in masks.items():
        kind = np.uint16 if labels.size == 0 or labels.max() < 2**16 else np.uint32
        arrays[f"mask/{name}"] = labels.astype(kind)
    handle, partial = tempfile.mkstemp(suffix=".partial", dir=folder)
    with os.fdopen(handle, "wb") as file:
        np.savez(file, **arrays)
    os.replace(partial, site_path(folder, number))


def site_path(folder, number):
    """Where the measurements of a finished site lie."""
    return os.path.join(folder, f"site-{number:06d}.npz")


def join_sites(path, folder, sites, attributes):
    """Join the .npz of all finished sites of `sites` into the .h5 file `path`; return how many there were.

    attributes: text attributes of the file. The features are the union over sites; what a site lacks is NaN.
    """
    finished = [site for site in sites if os.path.exists(site_path(folder, site["number"]))]
    with h5py.File(path, "w") as file:
        file.attrs["layout"] = LAYOUT
        for key, value in sorted(attributes.items()):
            file.attrs[key] = value
        where = file.create_group("sites")
        for key in ("dataset", "batch", "plate", "well"):
            _write_text(where, key, [site[key] for site in finished])
        where["site"] = np.array([site["site"] for site in finished], dtype=np.int32)
        _join_images(file.create_group("images"), folder, finished)
        objects = file.create_group("objects")
        for name in _union(folder, finished, "features/"):
            _join_object(objects.create_group(name), folder, finished, name)
        masks = file.create_group("masks")
        for row, site in enumerate(finished):
            with _open(folder, site) as arrays:
                for key in arrays.files:
                    if key.startswith("mask/"):
                        group = masks.require_group(key[len("mask/") :])
                        group.create_dataset(str(row), data=arrays[key], compression="gzip", compression_opts=4)
    return len(finished)


def _join_images(group, folder, sites):
    names = {"numeric": set(), "text": set()}
    for site in sites:
        with _open(folder, site) as arrays:
            for kind, found in names.items():
                found.update(arrays[f"{kind}_names"].tolist())
    names["text"] -= names["numeric"]
    numeric = np.full((len(sites), len(names["numeric"])), np.nan)
    text = np.full((len(sites), len(names["text"])), "", dtype=object)
    places = {kind: {name: place for place, name in enumerate(sorted(found))} for kind, found in names.items()}
    for row, site in enumerate(sites):
        with _open(folder, site) as arrays:
            for kind, table in (("numeric", numeric), ("text", text)):
                for name, value in zip(arrays[f"{kind}_names"].tolist(), arrays[kind].tolist()):  # noqa: B905 (Python 3.9)
                    if name in places[kind]:
                        table[row, places[kind][name]] = value
    _write_text(group, "numeric_names", sorted(names["numeric"]))
    _write_text(group, "text_names", sorted(names["text"]))
    group["numeric"] = numeric
    group.create_dataset("text", data=text, dtype=h5py.string_dtype("utf-8"))


def _join_object(group, folder, sites, name):
    features, counts = set(), []
    for site in sites:
        with _open(folder, site) as arrays:
            found = f"features/{name}" in arrays.files
            features.update(arrays[f"features/{name}"].tolist() if found else ())
            counts.append(len(arrays[f"values/{name}"]) if found else 0)
    order = sorted(features)
    place = {feature: column for column, feature in enumerate(order)}
    _write_text(group, "features", order)
    group["counts"] = np.array(counts, dtype=np.int64)
    total = int(sum(counts))
    values = group.create_dataset(
        "values",
        (total, len(order)),
        dtype=np.float32,
        chunks=(max(1, min(1024, total)), max(1, min(64, len(order)))) if total and order else None,
        **({"compression": "gzip", "compression_opts": 1, "shuffle": True} if total and order else {}),
    )
    start = 0
    for site, count in zip(sites, counts):  # noqa: B905 (Python 3.9)
        if count:
            with _open(folder, site) as arrays:
                block = np.full((count, len(order)), np.nan, dtype=np.float32)
                columns = [place[feature] for feature in arrays[f"features/{name}"].tolist()]
                block[:, columns] = arrays[f"values/{name}"]
            values[start : start + count] = block
            start += count


def _union(folder, sites, prefix):
    found = set()
    for site in sites:
        with _open(folder, site) as arrays:
            found.update(key[len(prefix) :] for key in arrays.files if key.startswith(prefix))
    return sorted(found)


def _open(folder, site):
    return np.load(site_path(folder, site["number"]), allow_pickle=False)


def _matrix(features):
    """(n, f) float32 of the sorted features; columns shorter than the longest end in NaN."""
    length = max((len(values) for values in features.values()), default=0)
    matrix = np.full((length, len(features)), np.nan, dtype=np.float32)
    for column, name in enumerate(sorted(features)):
        values = np.asarray(features[name], dtype=np.float64)
        matrix[: len(values), column] = values
    return matrix


def _write_text(group, name, texts):
    group.create_dataset(name, data=np.array(list(texts), dtype=object), dtype=h5py.string_dtype("utf-8"))
