"""Deep sets: a network of cells, their sum over a set, a network of the sum.

Source: CytoSummaryNet, van Dijk et al. 2024; deep sets, Zaheer et al. 2017, arXiv:1703.06114.
"""

import torch
from torch import nn


class DeepSets(nn.Module):
    """Profile of a set of cells (M, D): rho(sum over cells of phi(cell)), whatever their number and order.

    n_features: D. options: `phi`, width of the one layer that cells pass; `rho`, widths of the layers after the sum,
    the last one the profile's. Each layer is followed by a leaky ReLU. `precision`: with `bfloat16` cells pass their
    layer in it; sums over cells, in which its rounding averages out, and all after them stay float32.
    """

    def __init__(self, n_features, options):
        super().__init__()
        self.n_features, self.options = n_features, {"precision": "float32", **options}
        self.phi = nn.Sequential(nn.Linear(n_features, options["phi"]), nn.LeakyReLU(inplace=True))
        layers, width = [], options["phi"]
        for wider in options["rho"]:
            layers += [nn.Linear(width, wider), nn.LeakyReLU()]
            width = wider
        self.rho = nn.Sequential(*layers)

    @property
    def dim(self):
        """Length of a profile."""
        return self.options["rho"][-1]

    def of_cells(self, cells):
        """phi of cells (N, D): (N, phi), of the kind of the cells."""
        rounded = self.options["precision"] == "bfloat16"
        with torch.autocast(cells.device.type, torch.bfloat16, enabled=rounded):
            return self.phi(cells).to(cells.dtype)

    def forward(self, cells, counts):
        """Profiles (S, dim) of sets of cells (N, D). counts: sparse (S, N), how often each set holds each cell.

        A cell that several sets hold, or one set several times, passes phi once.
        """
        return self.rho(torch.sparse.mm(counts, self.of_cells(cells)))

    def of_wells(self, cells, lengths, block=16384):
        """Profiles (W, dim) of wells whose cells (N, D) lie one after the other. lengths: (W,) cells of each.

        At most `block` cells are in phi at a time.
        """
        sums = cells.new_zeros(len(lengths), self.options["phi"])
        well = torch.repeat_interleave(torch.arange(len(lengths), device=cells.device), lengths)
        for start in range(0, len(cells), block):
            sums.index_add_(0, well[start : start + block], self.of_cells(cells[start : start + block]))
        return self.rho(sums)


def counts_matrix(sets, cells, times, shape):
    """Sparse (S, N) float32: `times` each of `sets` (n,) holds each of `cells` (n,)."""
    where = torch.stack([torch.as_tensor(sets), torch.as_tensor(cells)])
    values = torch.as_tensor(times, dtype=torch.float32)
    matrix = torch.sparse_coo_tensor(where, values, shape, check_invariants=False)
    return matrix.coalesce()
