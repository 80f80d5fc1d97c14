"""Cell Painting plates with known truth: design of the plates, cells, stains, optics and camera of the demo study."""

from phenoloom.simulate.optics import vignetting

__all__ = ["vignetting"]
