"""Image quality: focus, saturation, background and foreground of every image; flags by plate and channel."""

from phenoloom.quality.flags import flag_images, robust_z, summarize_sites
from phenoloom.quality.measures import measure_image, measure_plate

__all__ = ["flag_images", "measure_image", "measure_plate", "robust_z", "summarize_sites"]
