"""How many floating-point operations a model asks for, from its config alone; for plans, so within a factor of two."""

#: Width and blocks of the sizes of a transformer.
SIZES = {"tiny": (192, 12), "small": (384, 12), "base": (768, 12)}

#: Operations of networks that are no plain transformer, per pixel of an image: ResNet-50 and Swin-T at 224 x 224.
PER_PIXEL = {"resnet50": 8.2e9 / 224**2, "swin": 9.0e9 / 224**2, "pixels": 1}

#: Size of an item, where its tensor keeps that of the images.
SIZE = (224, 224)

TERA = 1e12

#: Cells of a megapixel, before they are found; some 120 of 20x, some 40 of 40x magnification.
CELLS_PER_MEGAPIXEL = 80


def items_per_site(dataset, tensor, shape):
    """Items that a site gives, before cells are found. dataset, tensor: config blocks. shape: (H, W) of an image."""
    if tensor["items"] == "fields":
        return 1
    height, width = shape or (1080, 1080)
    return (dataset.get("simulate") or {}).get("cells") or CELLS_PER_MEGAPIXEL * height * width / 1e6


def forward(network, size):
    """Operations (multiplications and additions) of one image (height, width) through a network block of the config."""
    height, width = size
    if network["architecture"] in PER_PIXEL:
        return PER_PIXEL[network["architecture"]] * height * width
    dim, depth = SIZES[network["size"]]
    dim, depth = network["dim"] or dim, network["depth"] or depth
    tokens = 1 + height * width / network["patch"] ** 2
    return depth * (24 * tokens * dim**2 + 4 * tokens**2 * dim)


def training(block):
    """Teraflop to train one network of a model on one item: all epochs, all views, of student and teacher.

    A pass back costs twice a pass forward. block: the model's completed block of the config.
    """
    views, epochs = block["views"], block["train"]["epochs"]
    large = views["n_global"] * forward(block["network"], (views["global_size"],) * 2)
    small = views["n_local"] * forward(block["network"], (views["local_size"],) * 2)
    teacher = large if "teacher" in block else 0
    return epochs * (3 * (large + small) + teacher) / TERA


def embedding(block, size, channels):
    """Teraflop to embed one item (height, width) by all networks of a model.

    A network that was taken over is counted by its block's defaults, a ViT-S/16: what it is stands in its weights.
    """
    options, crops = block["embed"], 1
    if options["views"] == "centre_crops":
        size, crops = (options["crop"],) * 2, options["grid"] ** 2
    elif options["size"]:
        size = (options["size"],) * 2
    alone = block.get("per_channel") or block["adapt"] == "rgb"
    return crops * (channels if alone else 1) * forward(block["network"], size) / TERA
