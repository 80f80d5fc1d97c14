"""Views of n-channel images: random crops, flips, turns, intensity, blur and noise, on the device, by key."""

import math

import torch
from kornia.filters import gaussian_blur2d
from torch.nn import functional

from phenoloom.training.randomness import key, normal, uniform

#: What a view's random numbers are for, in their order.
_CROP, _FLIP, _TURN = slice(0, 4), slice(4, 6), 6


class Views:
    """Random views of one size, all of a batch at once.

    count: views per image. size: their side in pixels. scale: (least, largest) share of the image that a view covers.
    options: `aspect`, `flips`, `rotate`, `brightness`, `contrast`, `blur`, `noise` of the config. role: a number that
    sets these views apart from others of the same keys.
    """

    def __init__(self, count, size, scale, options, role):
        self.count, self.size, self.scale, self.options, self.role = count, size, tuple(scale), options, role

    def __call__(self, images, keys):
        """(count * n, C, size, size) of images (n, C, H, W): first views of all images first. keys: (n,) int64.

        A view depends on its image's pixels and key only, not on the others in the batch.
        """
        keys = key(keys[:, None], self.role, torch.arange(self.count, device=keys.device))
        numbers = uniform(keys.flatten(), 7).reshape(*keys.shape, 7)
        views = self._cropped(images, numbers)
        views = self._intensities(views, images, keys)
        return views.transpose(0, 1).flatten(0, 1)

    def _cropped(self, images, numbers):
        """(n, count, C, size, size): bilinear, after averaging where a view would skip over pixels."""
        height, width = images.shape[2:]
        # A view of many more pixels than it keeps is averaged first, all by one whole factor: nothing is skipped over.
        skip = int(math.sqrt(self.scale[0] * height * width) / self.size)
        grid = self._grid(numbers, height, width)
        if skip > 1:
            images = functional.avg_pool2d(images, skip, ceil_mode=True, count_include_pad=False)
            # What is left over at the right and the bottom makes the averaged image a bit larger than the original.
            grid = (grid + 1) * grid.new_tensor(
                [width / (images.shape[3] * skip), height / (images.shape[2] * skip)]
            ) - 1
        n, count = numbers.shape[:2]
        # All views of an image are one tall picture, so that the image need not be repeated for each of them.
        tall = functional.grid_sample(
            images, grid.reshape(n, count * self.size, self.size, 2), padding_mode="border", align_corners=False
        )
        return tall.reshape(n, images.shape[1], count, self.size, self.size).transpose(1, 2)

    def _grid(self, numbers, height, width):
        """(n, count, size, size, 2): where in the image, from -1 to 1, each pixel of each view lies."""
        area, aspect, right, down = numbers[..., _CROP].unbind(-1)
        area = (self.scale[0] + area * (self.scale[1] - self.scale[0])) * height * width
        aspect = torch.exp((2 * aspect - 1) * math.log(self.options["aspect"]))
        # Shares of the image's sides; a crop that would be longer than a side is cut off there.
        wide = (torch.sqrt(area * aspect) / width).clamp(max=1)
        high = (torch.sqrt(area / aspect) / height).clamp(max=1)
        centre = torch.stack([(2 * right - 1) * (1 - wide), (2 * down - 1) * (1 - high)], dim=-1)
        axes = torch.eye(2, device=numbers.device).expand(*numbers.shape[:2], 2, 2)
        if self.options["flips"]:
            axes = axes * torch.where(numbers[..., _FLIP] < 0.5, -1.0, 1.0)[..., None, :]
        if self.options["rotate"]:
            quarter = torch.floor(4 * numbers[..., _TURN])
            cosine, sine = (of(quarter * math.pi / 2).round() for of in (torch.cos, torch.sin))
            turn = torch.stack([torch.stack([cosine, -sine], -1), torch.stack([sine, cosine], -1)], -2)
            axes = turn @ axes
        axes = torch.stack([wide, high], dim=-1)[..., None] * axes
        line = (2 * torch.arange(self.size, device=numbers.device) + 1) / self.size - 1
        square = torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=-1)
        return torch.einsum("nvab,ijb->nvija", axes, square) + centre[:, :, None, None]

    def _intensities(self, views, images, keys):
        """Contrast, brightness, blur and noise of views (n, count, C, s, s), in deviations of the image's channels."""
        options = self.options
        n, count, channels = views.shape[:3]
        if not any(options[name] for name in ("brightness", "contrast", "blur", "noise")):
            return views
        deviation, mean = (part[:, None] for part in torch.std_mean(images, dim=(2, 3), correction=0, keepdim=True))
        numbers = uniform(key(keys.flatten(), 1), 2 * channels + 2).reshape(n, count, -1, 1, 1)
        if options["contrast"]:
            factor = 1 + (2 * numbers[:, :, :channels] - 1) * options["contrast"]
            views = (views - mean) * factor + mean
        if options["brightness"]:
            views = views + (2 * numbers[:, :, channels : 2 * channels] - 1) * options["brightness"] * deviation
        if options["blur"]:
            chosen, sigma = numbers[:, :, -2:, 0, 0].unbind(-1)
            side = min(2 * math.ceil(3 * options["blur"]) + 1, 2 * self.size - 1)
            flat = views.flatten(0, 1)
            sigma = (sigma.flatten() * options["blur"]).clamp(min=1e-3)[:, None].expand(-1, 2)
            blurred = gaussian_blur2d(flat, (side, side), sigma).reshape(views.shape)
            views = torch.where((chosen < 0.5)[..., None, None, None], blurred, views)
        if options["noise"]:
            grain = normal(key(keys.flatten(), 2), channels * self.size**2).reshape(views.shape)
            views = views + grain * options["noise"] * deviation
        return views


def crops(options):
    """(global Views, local Views or None) of a model's `views` options."""
    large = Views(options["n_global"], options["global_size"], options["global_scale"], options, 0)
    if not options["n_local"]:
        return large, None
    return large, Views(options["n_local"], options["local_size"], options["local_scale"], options, 1)
