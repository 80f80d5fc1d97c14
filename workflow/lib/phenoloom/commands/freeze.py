"""`freeze`: copy the illumination functions of a finished run, to be declared and so kept from changing."""

import os
from pathlib import Path

from phenoloom.core.errors import InputError
from phenoloom.core.files import write_if_changed
from phenoloom.core.words import count


def add(parser):
    parser.add_argument("config")
    parser.add_argument("folder", help="where to copy them, outside of the results")
    parser.add_argument("--dataset", help="only this dataset")


def call(given):
    from phenoloom.config.loading import read_config
    from phenoloom.config.study import Study

    config = read_config(given.config)
    study = Study(config, f"results/{config['study']}")
    folder = _folder(given.folder, study.results)
    datasets = _datasets(study, given.dataset)
    lines = ["datasets:"]
    for dataset in datasets:
        number = _copy(study, dataset, folder / dataset)
        print(f"{dataset}: {count(number, 'illumination function')} in {folder / dataset}")
        pattern = folder / dataset / "{plate}" / "{channel}.npy"
        lines += [f"  {dataset}:", "    illumination:", f'      functions: "{pattern}"']
    print(f"\nTo take them from now on, put this into {given.config}, beside the keys that are there:\n")
    print("\n".join(lines))
    return 0


def _folder(text, results):
    """The folder as seen from the working directory where it lies below it."""
    folder = Path(os.path.abspath(os.path.expanduser(text)))
    if folder.resolve().is_relative_to(Path(results).resolve()):
        raise InputError(f"{text} lies in {results}, which runs change; name a folder outside of it")
    if set('{}"') & set(str(folder)):
        raise InputError(f"{text} has braces or quotes in it, which mean something in a pattern; name another folder")
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder


def _datasets(study, only):
    """Datasets whose functions are estimated."""
    estimated = [name for name in study.image_datasets() if study.illuminated(name) and not study.frozen(name)]
    if only is not None and only not in estimated:
        raise InputError(
            f"no functions are estimated for a dataset {only}; they are for: {', '.join(estimated) or 'none'}"
        )
    if not estimated:
        raise InputError("the study estimates no illumination functions: they are declared already, or method is none")
    return estimated if only is None else [only]


def _copy(study, dataset, folder):
    """Copy all functions of a dataset; return their number. Nothing is copied where one is missing or in the way."""
    source = Path(study.results) / dataset / "illumination"
    names = [f"{plate}/{channel}.npy" for plate in study.plates(dataset) for channel in study.channels(dataset)]
    missing = [name for name in names if not (source / name).is_file()]
    if missing:
        raise InputError(
            f"{len(missing)} of {count(len(names), 'illumination function')} of dataset {dataset} are not there yet, "
            f"{source / missing[0]} the first; run the study first"
        )
    contents = {folder / name: (source / name).read_bytes() for name in names}
    for path, data in contents.items():
        if path.exists() and path.read_bytes() != data:
            raise InputError(f"{path} holds another function; remove it, or name another folder")
    for path, data in contents.items():
        write_if_changed(path, data)
    return len(names)
