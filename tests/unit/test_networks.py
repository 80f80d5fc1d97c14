"""Backbones: any number of channels, any size of image, and weights that survive being stored."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from phenoloom.core.errors import InputError
from phenoloom.networks import weights
from phenoloom.networks.adoption import adopt
from phenoloom.networks.attention import attention_maps, on_pixels
from phenoloom.networks.backbone import ARCHITECTURES, build
from phenoloom.networks.flops import flops

TINY = {
    "vit": {"dim": 32, "depth": 2, "heads": 2, "patch": 8},
    "dinov2": {"dim": 32, "depth": 2, "heads": 2, "patch": 7},
    "swin": {"dim": 64, "depth": 2, "heads": 1},
    "resnet50": {"dim": 128, "depth": 1},
}


def tiny(architecture="vit", channels=3, size=56, seed=0):
    torch.manual_seed(seed)
    backbone = build(architecture, channels, size, TINY[architecture]).eval()
    with torch.no_grad():
        for values in backbone.parameters():  # biases and position embeddings too, which new networks have near zero
            values.add_(0.05 * torch.randn_like(values))
    return backbone


def images(*shape, seed=1):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def stored(backbone, path, **more):
    header = {"channels": [f"c{i}" for i in range(backbone.n_channels)], "normalize": "image", "kind": "dino"}
    weights.save(backbone, path, **(header | more))
    return path


@pytest.mark.parametrize("architecture", TINY)
@pytest.mark.parametrize("channels", [1, 5])
def test_any_number_of_channels_and_any_size_give_one_vector_each(architecture, channels):
    backbone = tiny(architecture, channels)
    for height, width in [(56, 56), (24, 24), (96, 64), (45, 61)]:
        given = images(3, channels, height, width).requires_grad_()
        vectors = backbone(given)
        assert vectors.shape == (3, backbone.dim)
        vectors.square().sum().backward()
        assert torch.isfinite(vectors).all() and given.grad.abs().sum() > 0


@pytest.mark.parametrize("architecture", TINY)
def test_a_vector_depends_neither_on_its_batch_nor_on_what_came_before(architecture):
    backbone, given = tiny(architecture), images(4, 3, 56, 56)
    with torch.no_grad():
        first = backbone(given)
        backbone(images(2, 3, 24, 40))  # a Swin of transformers alone would keep the smaller window
        torch.testing.assert_close(backbone(given), first)
        torch.testing.assert_close(torch.cat([backbone(one[None]) for one in given]), first, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("architecture", TINY)
def test_at_its_own_size_it_is_the_network_of_transformers(architecture):
    size = 224 if architecture == "swin" else 56
    backbone, given = tiny(architecture, size=size), images(2, 3, size, size)
    with torch.no_grad():
        expected = backbone.network(given)
        pooled = expected.last_hidden_state[:, 0] if architecture == "vit" else expected.pooler_output.flatten(1)
        torch.testing.assert_close(backbone(given), pooled)


def test_sides_are_filled_to_whole_patches_by_reflection():
    backbone, given = tiny(), images(2, 3, 37, 50)
    padded = np.pad(given.numpy(), ((0, 0), (0, 0), (0, 3), (0, 6)), mode="reflect")
    with torch.no_grad():
        torch.testing.assert_close(backbone(given), backbone(torch.from_numpy(padded)))


def test_images_smaller_than_a_patch_or_of_other_channels_are_refused():
    with pytest.raises(InputError, match="smaller than a patch of 8"):
        tiny()(images(1, 3, 7, 30))
    with pytest.raises(InputError, match="sees 3 channels"):
        tiny()(images(1, 4, 32, 32))
    with pytest.raises(InputError, match="choose one of"):
        build("vgg", 3, 32)
    with pytest.raises(InputError, match="no multiple of 5"):
        build("vit", 3, 32, {"dim": 32, "heads": 5})


@pytest.mark.parametrize("architecture", ["vit", "dinov2"])
def test_attention_is_that_of_the_last_layer_from_the_class_token(architecture):
    backbone, given = tiny(architecture, 4), images(2, 4, 56, 112)
    maps = attention_maps(backbone, given.numpy())
    patch = backbone.patch
    assert maps.shape == (2, 2, 56 // patch, 112 // patch) and maps.min() >= 0
    assert (maps.sum(axis=(2, 3)) <= 1).all()
    backbone.network.set_attn_implementation("eager")
    more = {"interpolate_pos_encoding": True} if architecture == "vit" else {}
    with torch.no_grad():
        expected = backbone.network(given, output_attentions=True, **more).attentions[-1][:, :, 0, 1:]
    np.testing.assert_allclose(maps.reshape(2, 2, -1), expected.numpy(), atol=1e-6)


def test_attention_reaches_over_an_edge_and_is_cropped_on_pixels():
    maps = attention_maps(tiny(), images(1, 3, 37, 50))
    assert maps.shape == (1, 2, 5, 7)
    drawn = on_pixels(maps, 8, (37, 50))
    assert drawn.shape == (1, 2, 37, 50) and drawn[0, 1, 36, 49] == maps[0, 1, 4, 6]
    with pytest.raises(InputError, match="resnet"):
        attention_maps(tiny("resnet50"), images(1, 3, 37, 50))


def test_flops_of_a_transformer_are_those_of_its_products():
    tokens, dim, depth, patch = 1 + 7 * 7, 32, 2, 8
    products = 2 * 49 * 3 * patch**2 * dim + depth * (24 * tokens * dim**2 + 4 * tokens**2 * dim)
    assert flops(tiny(), (3, 56, 56)) == products


@pytest.mark.parametrize("architecture", TINY)
def test_stored_weights_give_the_same_vectors_and_the_same_bytes(architecture, tmp_path):
    backbone, given = tiny(architecture, 4), images(2, 4, 40, 48)
    path = stored(backbone, tmp_path / "a.safetensors", epoch=3)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    loaded, header = weights.load(path)
    assert torch.equal(torch.get_rng_state(), before)
    assert header["channels"] == ["c0", "c1", "c2", "c3"] and header["dim"] == backbone.dim and header["epoch"] == 3
    with torch.no_grad():
        assert torch.equal(loaded(given), backbone(given))
    again = stored(loaded, tmp_path / "b.safetensors", epoch=3)
    assert path.read_bytes() == again.read_bytes()


@pytest.mark.parametrize("architecture", TINY)
def test_a_folder_of_hugging_face_gives_its_network(architecture, tmp_path):
    backbone, given = tiny(architecture), images(2, 3, 40, 48)
    backbone.network.save_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.equal(weights.pretrained(tmp_path, 3, None)(given), backbone(given))


@pytest.mark.parametrize("architecture", TINY)
def test_averaged_filters_see_grey_over_channels_as_the_rgb_network_sees_grey(architecture, tmp_path):
    backbone, grey = tiny(architecture), images(2, 1, 40, 48)
    backbone.network.save_pretrained(tmp_path)
    with torch.no_grad():
        expected = backbone(grey.repeat(1, 3, 1, 1))
        for channels, how in [(1, "sum"), (1, "average"), (3, "average"), (5, "average")]:
            adapted = weights.pretrained(tmp_path, channels, how)
            torch.testing.assert_close(adapted(grey.repeat(1, channels, 1, 1)), expected, atol=1e-4, rtol=1e-4)
    with pytest.raises(InputError, match="one channel"):
        weights.pretrained(tmp_path, 5, "sum")


def test_channels_alone_through_an_rgb_network_are_side_by_side(tmp_path):
    backbone, given = tiny(), images(2, 4, 40, 48)
    backbone.network.save_pretrained(tmp_path)
    alone = weights.pretrained(tmp_path, 4, "rgb", "percentile")
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        expected = [
            backbone((given[:, [c]].repeat(1, 3, 1, 1) - mean[:, None, None]) / std[:, None, None]) for c in range(4)
        ]
        torch.testing.assert_close(alone(given), torch.cat(expected, dim=1))
    assert attention_maps(alone, given).shape == (2, 4 * 2, 5, 6)
    loaded, header = weights.load(stored(alone, tmp_path / "rgb.safetensors", normalize="percentile"))
    np.testing.assert_allclose(header["mean"], mean)
    assert header["input"] == "rgb" and loaded.dim == 4 * 32
    with torch.no_grad():
        assert torch.equal(loaded(given), alone(given))


def test_standardised_images_are_not_normalised_again(tmp_path):
    tiny().network.save_pretrained(tmp_path)
    assert weights.pretrained(tmp_path, 4, "rgb", "image").mean is None
    assert weights.pretrained(tmp_path, 4, "average", "range").mean.flatten().tolist() == pytest.approx([0.449] * 4)


class ReferenceViT:
    """A vision transformer written out from the tensors of the original DINO, by its own names."""

    def __init__(self, tensors, heads):
        self.tensors, self.heads = tensors, heads

    def linear(self, values, name):
        return values @ self.tensors[f"{name}.weight"].T + self.tensors[f"{name}.bias"]

    def norm(self, values, name):
        scale = (values.var(-1, unbiased=False, keepdim=True) + 1e-6).sqrt()
        return (values - values.mean(-1, keepdim=True)) / scale * self.tensors[f"{name}.weight"] + self.tensors[
            f"{name}.bias"
        ]

    def __call__(self, images):
        t = self.tensors
        filters = t["patch_embed.proj.weight"]
        patch, dim = filters.shape[-1], len(filters)
        tokens = functional.unfold(images, patch, stride=patch).transpose(1, 2) @ filters.reshape(dim, -1).T
        tokens = tokens + t["patch_embed.proj.bias"]
        x = torch.cat([t["cls_token"].expand(len(images), -1, -1), tokens], dim=1) + t["pos_embed"]
        for number in range(2):
            name = f"blocks.{number}"
            count = x.shape[1]
            qkv = self.linear(self.norm(x, f"{name}.norm1"), f"{name}.attn.qkv")
            q, k, v = qkv.reshape(len(x), count, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
            shares = (q @ k.transpose(-2, -1) * (dim // self.heads) ** -0.5).softmax(dim=-1)
            x = x + self.linear((shares @ v).transpose(1, 2).reshape(x.shape), f"{name}.attn.proj")
            inner = self.linear(self.norm(x, f"{name}.norm2"), f"{name}.mlp.fc1")
            inner = inner * 0.5 * (1 + torch.erf(inner / 2**0.5))
            x = x + self.linear(inner, f"{name}.mlp.fc2")
        return self.norm(x, "norm")[:, 0]


def dino_tensors(channels=3, dim=128, patch=8, side=4):
    shapes = {
        "cls_token": (1, 1, dim),
        "pos_embed": (1, 1 + side**2, dim),
        "patch_embed.proj.weight": (dim, channels, patch, patch),
        "patch_embed.proj.bias": (dim,),
        "norm.weight": (dim,),
        "norm.bias": (dim,),
    }
    layers = {"norm1": (dim,), "attn.qkv": (3 * dim, dim), "attn.proj": (dim, dim), "norm2": (dim,)}
    layers |= {"mlp.fc1": (4 * dim, dim), "mlp.fc2": (dim, 4 * dim)}
    for number in range(2):
        for name, shape in layers.items():
            shapes[f"blocks.{number}.{name}.weight"] = shape
            shapes[f"blocks.{number}.{name}.bias"] = shape[:1]
    generator = torch.Generator().manual_seed(3)
    return {name: 0.1 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}


@pytest.mark.parametrize("prefix", ["", "teacher.module.backbone."])
@pytest.mark.parametrize("channels", [3, 5])
def test_converted_dino_checkpoints_give_the_original_network(channels, prefix, tmp_path):
    tensors = dino_tensors(channels)
    held = {prefix + name: values for name, values in tensors.items()}
    held[f"{prefix}head.mlp.0.weight"] = torch.ones(3, 3)
    if prefix:
        held["student.module.backbone.cls_token"] = torch.zeros(1, 1, 128)
    save_file(held, tmp_path / "dino.safetensors")
    given = images(2, channels, 32, 32)
    # a network of n channels, as scDINO's, stays as it is whatever is asked for RGB ones
    found = weights.pretrained(tmp_path / "dino.safetensors", channels, None if channels == 3 else "average")
    with torch.no_grad():
        torch.testing.assert_close(found(given), ReferenceViT(tensors, heads=2)(given), atol=1e-5, rtol=1e-4)


def test_the_documented_conversion_makes_a_checkpoint_loadable(tmp_path, monkeypatch):
    page = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "weights.md").read_text()
    code = page.split("```python\n")[1].split("```")[0]
    tensors = dino_tensors()
    monkeypatch.chdir(tmp_path)
    torch.save(
        {"student": {}, "teacher": {f"backbone.{n}": v for n, v in tensors.items()}}, re.search(r"\w+\.pth", code)[0]
    )
    exec(code, {})
    found = weights.pretrained(tmp_path / re.search(r"\w+\.safetensors", code)[0], 3, None)
    given = images(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(found(given), ReferenceViT(tensors, heads=2)(given), atol=1e-5, rtol=1e-4)


def broken(path, change):
    """Store our weights with tensors and header changed."""
    stored(tiny(), path)
    tensors, header = load_file(path), weights.read_header(path)
    change(tensors, header)
    save_file(tensors, path, metadata={"phenoloom": json.dumps(header)})
    return path


BREAKS = {
    "lacks the tensor layernorm.weight": lambda tensors, header: tensors.pop("layernorm.weight"),
    "has the shape": lambda tensors, header: tensors.update({"layernorm.bias": torch.zeros(4)}),
    "holds NaN": lambda tensors, header: tensors["layernorm.weight"].fill_(float("nan")),
    "unknown here": lambda tensors, header: header.update(architecture="vgg"),
    "its header names 2": lambda tensors, header: header["channels"].pop(),
    "lacks config": lambda tensors, header: header.pop("config"),
    "describes no network": lambda tensors, header: header["config"].update(hidden_size="wide"),
    "which a vit of its sizes has not": lambda tensors, header: tensors.update(more=torch.zeros(2)),
}


@pytest.mark.parametrize("sentence", BREAKS)
def test_broken_weights_are_refused_in_one_sentence(sentence, tmp_path):
    path = broken(tmp_path / "model.safetensors", BREAKS[sentence])
    with pytest.raises(InputError, match=sentence) as error:
        weights.load(path)
    assert "model.safetensors" in str(error.value) and "\n" not in str(error.value)


def test_truncated_empty_missing_and_foreign_files_are_refused(tmp_path):
    path = stored(tiny(), tmp_path / "model.safetensors")
    data = path.read_bytes()
    for size in (0, 5, 500, len(data) - 10):
        path.write_bytes(data[:size])
        with pytest.raises(InputError, match="no whole safetensors"):
            weights.load(path)
    with pytest.raises(InputError, match="does not exist"):
        weights.load(tmp_path / "other.safetensors")
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(InputError, match="no header of phenoloom"):
        weights.load(path)
    with pytest.raises(InputError, match="neither a header"):
        weights.pretrained(path, 3)


@pytest.mark.parametrize("name", ["dino.pth", "pytorch_model.bin", "last.ckpt"])
def test_pickles_are_refused_with_the_way_out(name, tmp_path):
    (tmp_path / name).write_bytes(b"\x80\x04.")
    with pytest.raises(InputError, match="convert it to .safetensors"):
        weights.pretrained(tmp_path / name, 3)


def test_folders_that_lack_something_are_refused(tmp_path):
    with pytest.raises(InputError, match="no config.json"):
        weights.pretrained(tmp_path, 3)
    tiny().network.save_pretrained(tmp_path)
    with pytest.raises(InputError, match="holds a vit and the model's network is a resnet"):
        weights.pretrained(tmp_path, 3, architecture="resnet50")
    file = tmp_path / "model.safetensors"
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="cannot be loaded"):
        weights.pretrained(tmp_path, 3)
    tensors = {name: values for name, values in tiny().network.state_dict().items() if name != "layernorm.bias"}
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(InputError, match="lacks the tensor layernorm.bias"):
        weights.pretrained(tmp_path, 3)
    file.unlink()
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(InputError, match="pytorch_model.bin is a pickle"):
        weights.pretrained(tmp_path, 3)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    file.write_bytes(data)
    with pytest.raises(InputError, match="'bert', unknown here"):
        weights.pretrained(tmp_path, 3)


def test_a_hub_name_out_of_reach_says_what_to_do(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="nor from the Hugging Face hub .* copy its folder"):
        weights.pretrained("nobody/no-such-network", 3)
    with pytest.raises(InputError, match="is no folder"):
        weights.pretrained("/no/such/folder", 3)


def test_networks_of_other_channels_are_not_adapted(tmp_path):
    path = stored(tiny(channels=3), tmp_path / "ours.safetensors")
    given = images(1, 3, 40, 40)
    with torch.no_grad():  # its three channels are those of a microscope: never averaged
        assert torch.equal(weights.pretrained(path, 3, "average")(given), tiny(channels=3)(given))
    with pytest.raises(InputError, match="sees 3 channels and is to see 5"):
        weights.pretrained(path, 5, "average")
    tiny(channels=4).network.save_pretrained(tmp_path / "four")
    with pytest.raises(InputError, match="sees 4 channels and is to see 5"):
        weights.pretrained(tmp_path / "four", 5, "average")
    with pytest.raises(InputError, match="sees 4 channels and is to see 3"):
        weights.pretrained(tmp_path / "four", 5, "rgb")


def test_an_adopted_network_has_a_header_and_a_card(tmp_path):
    tiny().network.save_pretrained(tmp_path / "folder")
    block = {"kind": "pretrained", "weights": str(tmp_path / "folder"), "adapt": "rgb", "normalize": "percentile"}
    path = tmp_path / "model.safetensors"
    card = adopt(block, ["DNA", "ER"], path)
    assert (
        card["dim"] == 64
        and card["architecture"] == "vit"
        and card["flops_per_image"] == 2 * flops(tiny(), (3, 56, 56))
    )
    assert str(tmp_path) not in json.dumps(card) + json.dumps(weights.read_header(path))
    assert weights.load(path)[1]["channels"] == ["DNA", "ER"]
    again = tmp_path / "again.safetensors"
    adopt(block | {"weights": str(path)}, ["DNA", "ER"], again)
    assert again.read_bytes() == path.read_bytes()
    with pytest.raises(InputError, match="normalize: percentile"):
        adopt(block | {"weights": str(path), "normalize": "image"}, ["DNA", "ER"], again)


def test_every_architecture_is_tested():
    assert {name.replace("50", "") for name in TINY} == set(ARCHITECTURES) - {"pixels"}  # which has nothing to learn


def test_pixels_are_the_averaged_image_itself(tmp_path):
    """16 x 16 means of 2 x 2 pixels, channel after channel, also after saving."""
    given = images(3, 2, 32, 32)
    pixels = build("pixels", 2, 32)
    weights.save(pixels, tmp_path / "a.safetensors", channels=["a", "b"], normalize="range", kind="dino")
    backbone, header = weights.load(tmp_path / "a.safetensors")
    means = given.reshape(3, 2, 16, 2, 16, 2).mean(dim=(3, 5)).flatten(1)
    assert header["dim"] == backbone.dim == 512
    torch.testing.assert_close(backbone(given), means)
