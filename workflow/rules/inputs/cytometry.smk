"""Inputs, params and resources of the rules in cytometry.smk."""

#: Constraint of the wildcard `dataset`: datasets that are put together from others.
_merged = "|".join(name for name in study.datasets() if study.merged(name)) or "(?!)"

#: Constraint of the wildcard `dataset`: what `prepare` listed needs no jobs.
listed_by_jobs = "|".join(study.listed_by_jobs()) or "(?!)"


def events_block(wildcards):
    """What of a dataset's config turns its images into a stack."""
    block = study.dataset(wildcards.dataset)
    events = {
        name: value for name, value in block["events"].items() if name not in ("pattern", "digest", "first_event")
    }
    crops = {name: value for name, value in block["crops"].items() if name != "rescale"}
    return {"channels": block["channels"], "events": events, "crops": crops}


def events_memory(wildcards):
    """MB of the images that are read at a time, and of what is kept of every event."""
    images = 1500 * study.event_pixels(wildcards.dataset) * 8 / 1e6
    return images + study.n_events(wildcards.dataset, wildcards.sample) * 0.0006


def event_minutes(base, per_event):
    """Resources function: minutes of a job on a sample; more at each attempt."""
    return lambda wildcards, attempt=1: int(
        attempt * (base + per_event * study.n_events(wildcards.dataset, wildcards.sample))
    )


def merged_tables(wildcards):
    """Tables of classical features of the datasets that a dataset is put together from, by dataset."""
    return {
        dataset: [
            f"<results>/{dataset}/representations/classical/cells/{sample}.parquet" for sample in study.samples(dataset)
        ]
        for dataset in study.merged(wildcards.dataset)
    }


def cell_tables(wildcards):
    """Tables of a representation at the level of cells, one per sample."""
    folder = f"<results>/{wildcards.dataset}/representations/{wildcards.representation}/cells"
    return [f"{folder}/{unit}.parquet" for unit in study.units(wildcards.dataset, wildcards.representation)]


def cell_profiles_of(file):
    """Input function: a file of every cell profile of a representation."""

    def paths(wildcards):
        folder = f"<results>/{wildcards.dataset}/cell_profiles/{wildcards.representation}"
        chosen = study.profiles_of(wildcards.dataset, wildcards.representation)
        return [f"{folder}/{profile}/{file}" for profile in chosen]

    return paths


def chains_of_cells(wildcards):
    """Steps of every cell profile of a representation, by name."""
    chosen = study.profiles_of(wildcards.dataset, wildcards.representation)
    return {name: config["cell_profiles"][name] for name in chosen}


def roles_of(dataset):
    """Channels that the features of a dataset end in; the roles of its channels where it is put together."""
    roles = (study.dataset(dataset).get("merge") or {}).get("roles") or {}
    names = [
        name
        for one in study.merged(dataset) or [dataset]
        for name in (roles[one].values() if roles.get(one) else study.channels(one))
    ]
    return list(dict.fromkeys(filter(None, names)))


#: Options of the report that change the maps and clusters of an AnnData file.
map_options = {
    name: config["report"]["cells"][name] for name in ("label", "max_cells", "neighbors", "min_dist", "resolution")
}
