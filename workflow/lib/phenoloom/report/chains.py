"""What a cell profile is, in the words of its chain: method, what was held out, whether its labels were shuffled."""

from typing import NamedTuple

from phenoloom.metric_learning.chain import parse

#: Names of the methods as readers know them.
METHODS = {"none": "no metric", "nca": "NCA", "lmnn": "LMNN", "mlkr": "MLKR", "lfda": "LFDA"}

HELD_OUT, TRANSDUCTIVE = "held out", "transductive"


class Chain(NamedTuple):
    """method: a value of METHODS. setting: HELD_OUT or TRANSDUCTIVE. shuffled: metadata column shuffled before all
    else, "" for none. pca: whether it has principal components before a metric.
    """

    method: str
    setting: str
    shuffled: str
    pca: bool

    @property
    def learned(self):
        """Whether a metric was learned."""
        return self.method != METHODS["none"]

    @property
    def words(self):
        """Such as 'NCA, held out' or 'NCA on shuffled Label, transductive'."""
        on = f" on shuffled {self.shuffled}" if self.shuffled else ""
        return f"{self.method}{on}, {self.setting}"


def chain_of(steps):
    """Chain of a list of steps as the config has them."""
    parsed = dict(parse(steps))
    metric = parsed.get("metric", {}).get("method", "none")
    return Chain(
        METHODS[metric],
        TRANSDUCTIVE if parsed["split"]["hold_out"] == "none" else HELD_OUT,
        parsed["permute"]["column"].removeprefix("Metadata_") if "permute" in parsed else "",
        "pca" in parsed and metric != "none",
    )


def in_order(chains):
    """Names of cell profiles as figures and tables show them: held out before transductive, true labels before shuffled
    ones, no metric before learned ones; else as the config has them. chains: {profile: Chain}.
    """
    return sorted(
        chains,
        key=lambda name: (chains[name].setting == TRANSDUCTIVE, bool(chains[name].shuffled), chains[name].learned),
    )


def leading(chains):
    """Name of the cell profile whose clusters are shown: the first with a metric learned of true labels, else the
    first; None without any. chains: {profile: Chain}.
    """
    ordered = in_order(chains)
    return next(
        (name for name in ordered if chains[name].learned and not chains[name].shuffled), next(iter(ordered), None)
    )
