"""What a .cppipe asks for, read as text, without CellProfiler: its kind, images, metadata and objects.

Works on Python 3.9, for the CellProfiler environment imports it too.
"""

import re
from pathlib import Path

#: A pipeline begins with LoadData or with Images, Metadata, NamesAndTypes and Groups.
LOAD_DATA, FILE_LIST = "load_data", "file_list"

_MODULE = re.compile(r"^(\w+):\[(.*)\]\s*$")
_SETTING = re.compile(r"^ {4}(.*)$")
_TAG = re.compile(r"\\g<(.+?)>")
_NOTHING = {"", "None", "Leave blank", "Do not use", "Leave this black"}

#: Texts of the settings of CellProfiler 4.2.8.1 that take an image as input (its ImageSubscriber settings).
_INPUTS = {
    "Select the first input image",
    "Select the second input image",
    "Select the additional image",
    "Select the input image",
    "Select the illumination function",
    "Select the masking image",
    "Select the image with a cropping mask",
    "Select the guiding image",
    "Select the image to use as a mask",
    "Select the image to be colored red",
    "Select the image to be colored green",
    "Select the image to be colored blue",
    "Select the image to be colored cyan",
    "Select the image to be colored magenta",
    "Select the image to be colored yellow",
    "Select the image that determines brightness",
    "Select the first image",
    "Select the second image",
    "Select the image",
    "Select the color image",
    "Select image for mask",
    "Select images to measure",
    "Select binary images to measure",
    "Select the images to measure",
    "Select an image to measure",
    "Select the image to be used as the ground truth basis for calculating the amount of overlap",
    "Select the image to be used to test for overlap",
    "Select the skeletonized image",
    "Intensity image",
    "Select image on which to display outlines",
    "Select the image on which to display the measurements",
    "Select image to match in maximum intensity",
    "Select the image with the desired dimensions",
    "Select the image to save",
    "Select image name for file prefix",
    "Select the grayscale image to guide merging",
    "Select an input image",
    "Select the input color image",
}

#: Output settings whose text does not begin with "Name the".
_OUTPUTS = {"Name to assign these images", "Output", "Select the input binary image"}

#: (module, input setting) -> (other setting, values of it that make CellProfiler ignore the input).
_IGNORED = {
    ("MeasureImageQuality", "Select the images to measure"): (
        "Calculate metrics for which images?",
        {"All loaded images"},
    ),
    ("OverlayOutlines", "Select image on which to display outlines"): (
        "Display outlines on a blank image?",
        {"Yes"},
    ),
    ("SaveImages", "Select the image to save"): ("Select the type of image to save", {"Objects"}),
    ("SaveImages", "Select image name for file prefix"): (
        "Select method for constructing file names",
        {"Single name", "Sequential numbers"},
    ),
    ("MaskImage", "Select image for mask"): ("Use objects or an image as a mask?", {"Objects"}),
    ("MaskObjects", "Select the masking image"): (
        "Mask using a region defined by other objects or by binary image?",
        {"Objects"},
    ),
    ("Crop", "Select the masking image"): ("Select the cropping shape", {"Rectangle", "Ellipse", "Objects"}),
    ("Crop", "Select the image with a cropping mask"): ("Select the cropping shape", {"Rectangle", "Ellipse", "Image"}),
    ("Resize", "Select the image with the desired dimensions"): (
        "Resizing method",
        {"Resize by a fraction or multiple of the original size"},
    ),
}


class Module:
    """One module of a pipeline: `name`, `number` (from 1) and `settings`, a list of (text, value) pairs."""

    def __init__(self, name, number, settings):
        self.name = name
        self.number = number
        self.settings = settings

    def values(self, text):
        """All values of the settings with this text, in order."""
        return [value for key, value in self.settings if key == text]

    def value(self, text, default=""):
        """First value of a setting, or `default`."""
        return next(iter(self.values(text)), default)


def read_modules(path):
    """Enabled modules of a .cppipe file, in order. Raises ValueError, naming the file, when it is none."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ValueError(f"{path} does not exist; check the pipeline in the study's config") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a readable text file ({error}); save the pipeline as .cppipe") from error
    lines = text.splitlines()
    if not lines or not lines[0].startswith("CellProfiler Pipeline"):
        raise ValueError(f"{path} is no CellProfiler pipeline; save it from CellProfiler as .cppipe, not .cpproj")
    modules, enabled = [], False
    for line in lines[1:]:
        head = _MODULE.match(line)
        if head and "module_num:" in head[2]:
            enabled = "|enabled:False" not in head[2]
            if enabled:
                number = int(re.search(r"module_num:(\d+)", head[2])[1])
                modules.append(Module(head[1], number, []))
            continue
        setting = _SETTING.match(line)
        if setting and enabled and modules:
            key, _, value = setting[1].rpartition(":") if setting[1].startswith(":") else setting[1].partition(":")
            modules[-1].settings.append((_unescape(key), _unescape(value)))
    if not modules:
        raise ValueError(f"{path} holds no modules; save the pipeline again")
    return modules


def kind(path):
    """LOAD_DATA or FILE_LIST. Raises ValueError for pipelines with none or several ways to load images."""
    names = [module.name for module in read_modules(path)]
    loaders = [name for name in names if name in ("LoadData", "NamesAndTypes", "LoadImages", "LoadSingleImage")]
    if loaders == ["LoadData"]:
        return LOAD_DATA
    if loaders == ["NamesAndTypes"]:
        return FILE_LIST
    raise ValueError(
        f"{path} loads images by {', '.join(loaders) or 'nothing'}; it must have exactly one LoadData, or Images, "
        "Metadata, NamesAndTypes and Groups"
    )


def required_images(path):
    """Names of the images that the pipeline takes from outside, in order of first use.

    LoadData: every image that a module uses before another made it. NamesAndTypes: every name it assigns.
    """
    modules = read_modules(path)
    if kind(path) == FILE_LIST:
        return _assigned(modules)
    made, wanted = set(), []
    for module in modules:
        for text, value in module.settings:
            if text in _INPUTS and not _is_ignored(module, text):
                names = (name.strip() for name in value.split(","))
                wanted.extend(name for name in names if name not in _NOTHING | made and name not in wanted)
        for text, value in module.settings:
            if text in _OUTPUTS or (text.startswith("Name the") and "image" in text):
                made.add(value.strip())
    return wanted


def required_metadata(path):
    """Names (without Metadata_) of the metadata that a LoadData pipeline refers to, sorted.

    These are its grouping tags and every \\g<Name> in a setting.
    """
    found = set()
    for module in read_modules(path):
        for text, value in module.settings:
            found.update(_TAG.findall(value))
            if (
                module.name == "LoadData"
                and text == "Select metadata tags for grouping"
                and module.value("Group images by metadata?") == "Yes"
            ):
                found.update(tag.strip() for tag in value.split(",") if tag.strip() not in _NOTHING)
    return sorted(found)


def identified_objects(path):
    """Names of the objects that the pipeline makes, in order of first mention."""
    found = []
    for module in read_modules(path):
        for text, value in module.settings:
            is_name = text.startswith(("Name the", "Enter the name")) and "object" in text
            if is_name and value not in _NOTHING and value not in found:
                found.append(value)
    return found


def image_sources(path, channels, images=None):
    """Map each required image of a LoadData pipeline to what stands for it in the study.

    channels: names of the study's channels. images: the config's map {image name: channel |
    {"illumination": channel} | {"file": path}}. Without an entry, <channel>, Orig<channel> and Raw<channel> are the
    channel, Illum<channel> is its illumination function, whatever the case.
    Returns ({image name: ("channel" | "illumination" | "file", value)}, [names nothing stands for]).
    """
    images = images or {}
    defaults = {}
    for channel in channels:
        for prefix in ("", "orig", "raw"):
            defaults[prefix + channel.casefold()] = ("channel", channel)
        defaults["illum" + channel.casefold()] = ("illumination", channel)
    found, missing = {}, []
    for name in required_images(path):
        entry = images.get(name)
        if entry is None:
            source = defaults.get(name.casefold())
        elif isinstance(entry, str):
            source = ("channel", entry)
        else:
            source = next(iter(entry.items()))
        if source is None or (source[0] != "file" and source[1] not in channels):
            missing.append(name)
        else:
            found[name] = tuple(source)
    return found, missing


def metadata_sources(path, metadata=None):
    """Map each required metadata name to a field of the study: Dataset, Batch, Plate, Well, Site, Row or Column.

    metadata: the config's map {name in the pipeline: field}. Returns ({name: field}, [names nothing stands for]).
    """
    fields = {"dataset", "batch", "plate", "well", "site", "row", "column"}
    usual = {"col": "column", "wellrow": "row", "wellcolumn": "column", "field": "site"}
    found, missing = {}, []
    for name in required_metadata(path):
        field = (metadata or {}).get(name, name).casefold()
        field = usual.get(field, field)
        if field in fields:
            found[name] = field
        else:
            missing.append(name)
    return found, missing


def illuminated_channels(path, channels, images=None):
    """Channels whose illumination function a LoadData pipeline asks for, in the order of `channels`."""
    if kind(path) != LOAD_DATA:
        return []
    sources, _ = image_sources(path, channels, images)
    wanted = {value for what, value in sources.values() if what == "illumination"}
    return [channel for channel in channels if channel in wanted]


def unmatched_images(path, files):
    """Names that NamesAndTypes assigns and that none of `files` (paths) can get, by its rules.

    What a rule asks of the inside of a file or of metadata counts as fulfilled.
    """
    module = next(module for module in read_modules(path) if module.name == "NamesAndTypes")
    names = _assigned([module])
    if module.value("Assign a name to") == "All images":
        return [] if files else names
    rules = module.values("Select the rule criteria")[-len(names) :]
    return [
        name
        for name, rule in zip(names, rules)  # noqa: B905 (Python 3.9)
        if not any(_fits(_parse_rule(rule), str(file)) for file in files)
    ]


def missing_channels(path, channels, images=None, metadata=None, illumination=True, objects=(), files=None):
    """What the pipeline asks for and the study lacks: one sentence each, none when all is well.

    illumination: whether the study computes illumination functions. objects: objects whose masks are configured.
    files: paths of the study's images and further files, for pipelines with NamesAndTypes; None skips that check.
    """
    try:
        loads = kind(path)
    except ValueError as error:
        return [str(error)]
    wrong = []
    known = identified_objects(path)
    for name in objects:
        if name not in known:
            wrong.append(f"{path} makes no objects called {name}; it makes {', '.join(known) or 'none'} (see masks)")
    if loads == FILE_LIST:
        for name in unmatched_images(path, files) if files is not None else []:
            wrong.append(
                f"{path} gives the name {name} to files of which the study has none; change the rules of its "
                "NamesAndTypes, or name the files under features.cellprofiler.files"
            )
        return wrong
    sources, missing = image_sources(path, channels, images)
    for name in missing:
        wrong.append(
            f"{path} asks for the image {name}, and no channel of the study ({', '.join(channels)}) stands for it; "
            f"name one under features.cellprofiler.images.{name}"
        )
    if not illumination:
        for name, (what, channel) in sources.items():
            if what == "illumination":
                wrong.append(
                    f"{path} asks for {name}, the illumination function of {channel}, but the study computes none; "
                    "set illumination.method, or name a file under features.cellprofiler.images"
                )
    for name, (what, file) in sources.items():
        if what == "file" and not Path(file).is_file():
            wrong.append(f"{file}, which stands for the image {name} of {path}, does not exist; correct its path")
    for name in metadata_sources(path, metadata)[1]:
        wrong.append(
            f"{path} uses the metadata {name}, which the study does not have; "
            f"name a field (Plate, Well, Site, Batch, Row, Column) under features.cellprofiler.metadata.{name}"
        )
    return wrong


def _assigned(modules):
    module = next(module for module in modules if module.name == "NamesAndTypes")
    texts = [text for text, _ in module.settings]
    if module.value("Assign a name to") == "All images":
        return module.values("Name to assign these images")[:1]
    # the first occurrence belongs to "All images" unless the settings of an older format begin otherwise
    names = module.values("Name to assign these images")
    first_rule = texts.index("Select the rule criteria") if "Select the rule criteria" in texts else len(texts)
    return names[1:] if texts.index("Name to assign these images") < first_rule else names


def _parse_rule(rule):
    """A rule such as `and (file does contain "d0.tif") (extension doesnot istif)` as nested lists of words."""
    stack = [[]]
    for quoted, sign, word in re.findall(r'"((?:[^"\\]|\\.)*)"|([()])|([^\s()"]+)', rule):
        if sign == "(":
            stack.append([])
        elif sign == ")" and len(stack) > 1:
            stack[-2].append(stack.pop())
        else:
            stack[-1].append(word if word else re.sub(r"\\(.)", r"\1", quoted))
    return stack[0]


def _fits(rule, file):
    if not rule:
        return True
    if rule[0] in ("and", "or"):
        parts = [_fits(part, file) for part in rule[1:] if isinstance(part, list)]
        return all(parts) if rule[0] == "and" else any(parts) or not parts
    what, negation, predicate, text = ([*rule, "", "", "", ""])[:4]
    folder, _, name = file.rpartition("/")
    value = {"file": name, "directory": folder, "extension": name.rpartition(".")[2]}.get(what)
    if value is None:
        return True
    tests = {
        "contain": lambda: text in value,
        "startwith": lambda: value.startswith(text),
        "endwith": lambda: value.endswith(text),
        "eq": lambda: value == text,
        "containregexp": lambda: re.search(text, value) is not None,
        "istif": lambda: value.lower() in ("tif", "tiff"),
    }
    try:
        found = tests[predicate]()
    except (KeyError, re.error):
        return True
    return found if negation == "does" else not found


def _is_ignored(module, text):
    other = _IGNORED.get((module.name, text))
    return bool(other) and module.value(other[0]) in other[1]


def _unescape(text):
    """Older formats write brackets, colons and bars as \\xNN."""
    return re.sub(r"\\x([0-9A-Fa-f]{2})", lambda match: chr(int(match[1], 16)), text)
