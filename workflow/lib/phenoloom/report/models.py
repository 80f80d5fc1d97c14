"""Models in the report: how their trainings went, what they took, and where their networks look."""

import numpy as np
import pandas as pd

from phenoloom.core.words import count
from phenoloom.report import style
from phenoloom.report.gallery import pages
from phenoloom.report.plates import page_text
from phenoloom.report.style import shorten

#: Networks in one figure of losses; curves have at most this many points.
NETWORKS, POINTS = 7, 400
#: Scores in one figure of scores over epochs.
PANELS = 12
#: Items in one figure of attention.
ITEMS = 4


def add_losses(gallery, logs, items="images"):
    """Add loss, learning rate and speed over the steps of each training.

    logs: {(model, part): DataFrame of its training.csv}. items: what a step holds, for the words. A network that was
    not trained has no rows and no curve.
    """
    trained = {key: log for key, log in logs.items() if len(log)}
    if not trained:
        gallery.note("Training: nothing to show because no network of this dataset was trained here.")
        return
    split = pages(list(trained), NETWORKS)
    for number, keys in enumerate(split):
        data = pd.concat([thinned(trained[key]).assign(Model=key[0], Network=key[1]) for key in keys])
        gallery.add(
            f"training_{number + 1}",
            _loss_figure({key: thinned(trained[key]) for key in keys}, items),
            data.reset_index(drop=True),
            "Training",
            f"Loss (mean of neighbouring steps), learning rate, and {items} per second of each network over its steps. "
            "Losses compare within a model only; a lower loss is no better embedding by itself"
            + page_text(number, split)
            + ".",
            group="training",
            page=number,
        )


def thinned(log):
    """A log of at most POINTS rows: means of neighbouring ones, each at its last step."""
    groups = np.arange(len(log)) * min(POINTS, len(log)) // max(len(log), 1)
    return log.astype(float).groupby(groups).mean().assign(step=log["step"].groupby(groups).max())


def _loss_figure(logs, items):
    with style.look():
        figure = style.new_figure(style.WIDTH, 3.2)
        axes = figure.subplots(1, 3)
        for (key, log), colour in zip(logs.items(), style.CATEGORIES, strict=False):
            for axis, column in zip(axes, ("loss", "learning_rate", "images_per_second"), strict=True):
                axis.plot(log["step"], log[column], color=colour, linewidth=1.3, label=shorten(name_of(*key), 30))
        for axis, words in zip(axes, ("loss", "learning rate", f"{items} per second"), strict=True):
            axis.set_xlabel("step")
            axis.set_title(words)
            axis.grid(axis="y")
        axes[2].set_ylim(bottom=0)
        axes[1].ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)))
    return figure


def add_scores_by_epoch(gallery, epochs):
    """Add the scores of models over their epochs, a panel per score. epochs: DataFrame (evaluation.over_training)."""
    scores = ["evaluation", "dataset", "profile", "label"]
    groups = [
        (key, part) for key, part in epochs.groupby(scores, sort=False, dropna=False) if part["epoch"].nunique() > 1
    ]
    if not groups:
        gallery.note("Scores over epochs: nothing to show because no model has a score at several epochs.")
        return
    split = pages(groups, PANELS)
    for number, shown in enumerate(split):
        gallery.add(
            f"scores_by_epoch_{number + 1}",
            _epochs_figure(shown),
            pd.concat([part for _, part in shown], ignore_index=True),
            "Scores over epochs",
            "Score of each model after the epochs whose weights were kept, with its interval. The epoch to report is "
            "fixed before looking: picking the best by a score leaks the labels that it is scored by"
            f"{page_text(number, split)}.",
            group="scores_by_epoch",
            page=number,
        )


def _epochs_figure(shown):
    lines = -(-len(shown) // 3)
    models = sorted({model for _, part in shown for model in part["model"]}, key=style.natural)
    colours = dict(zip(models, style.CATEGORIES * (1 + len(models) // len(style.CATEGORIES)), strict=False))
    with style.look():
        figure = style.new_figure(style.WIDTH, 2.5 * lines + 0.4)
        axes = figure.subplots(lines, 3, squeeze=False).ravel()
        for axis, (key, part) in zip(axes, shown, strict=False):
            for model, rows in part.groupby("model", sort=False):
                rows = rows.sort_values("epoch")
                axis.plot(
                    rows["epoch"], rows["value"], "o-", color=colours[model], markersize=3.5, label=shorten(model)
                )
                axis.fill_between(
                    rows["epoch"], rows["low"], rows["high"], color=colours[model], alpha=0.12, linewidth=0
                )
            evaluation, dataset, profile, label = key
            axis.set_title(
                f"{shorten(evaluation, 24)}\n{shorten(f'{dataset}, {profile}, {label or str()}', 44)}", fontsize=7.5
            )
            axis.set_xlabel("epoch")
            axis.grid(axis="y")
        for axis in axes[len(shown) :]:
            axis.set_visible(False)
        handles = {text: line for axis in axes for line, text in zip(*axis.get_legend_handles_labels(), strict=True)}
        figure.legend(handles.values(), handles, loc="outside lower center", ncols=min(5, len(handles)))
    return figure


def name_of(model, part):
    """A network's name: that of its model, with its channel where it has one of its own."""
    return model if part == "all" else f"{model}, {part}"


def add_attention(gallery, network, images, maps, names, channels):
    """Add pictures of items and where each head of a network looks at them.

    network: name. images: (n, C, H, W), as the network saw them. maps: (n, heads, H, W), attention of the class token
    on each pixel's patch. names: what the items are, n texts. channels: C names; the picture is the mean of all.
    """
    split = pages(list(range(len(images))), ITEMS)
    for number, rows in enumerate(split):
        heads = maps.shape[1]
        gallery.add(
            f"attention_{number + 1}",
            _attention_figure(images[rows], maps[rows], [names[row] for row in rows]),
            pd.DataFrame(
                {
                    "Item": np.repeat([names[row] for row in rows], heads),
                    "Head": np.tile(np.arange(1, heads + 1), len(rows)),
                    "Largest": maps[rows].max(axis=(2, 3)).ravel(),
                    "Entropy": _entropy(maps[rows]).ravel(),
                }
            ),
            f"Attention of {network}",
            f"Left: items, the mean of {', '.join(channels)}, drawn by the seed. Then for each of "
            f"{count(heads, 'head')} of the last layer how much the class token looks at each patch, dark to bright "
            f"from none to its largest share. The arrays lie beside the weights{page_text(number, split)}.",
            kind="image",
            group="attention",
            page=number,
        )


def _entropy(maps):
    """Entropy in bits of each map (n, heads): few for a head that looks at one place."""
    shares = maps / maps.sum(axis=(2, 3), keepdims=True)
    return -np.sum(shares * np.log2(np.maximum(shares, 1e-12)), axis=(2, 3))


def _attention_figure(images, maps, names):
    columns = 1 + maps.shape[1]
    side = min(1.6, style.WIDTH / columns)
    with style.look():
        figure = style.new_figure(side * columns, (side + 0.22) * len(images))
        axes = figure.subplots(len(images), columns, squeeze=False)
        for line, (image, heads, name) in enumerate(zip(images, maps, names, strict=True)):
            axes[line, 0].imshow(image.mean(axis=0), cmap="gray")
            axes[line, 0].set_title(shorten(name, 34), fontsize=6.5)
            for column, head in enumerate(heads):
                axes[line, column + 1].imshow(head, cmap=style.SEQUENTIAL, vmin=0)
                if line == 0:
                    axes[line, column + 1].set_title(f"head {column + 1}", fontsize=6.5)
        for axis in axes.flat:
            axis.set_xticks([])
            axis.set_yticks([])
    return figure


def card_rows(cards):
    """Rows of the table of models from their cards. cards: {(model, part): dict}."""
    rows = []
    for (model, part), card in cards.items():
        network, record = card.get("network", card), card.get("training") or {}
        data = card.get("data") or {}
        rows.append(
            {
                "name": name_of(model, part),
                "kind": card["kind"],
                "architecture": network.get("architecture", ""),
                "channels": ", ".join(card["channels"]),
                "parameters": network.get("parameters"),
                "dim": network.get("dim"),
                "trained_on": data.get("trained_on"),
                "held_out": data.get("held_out"),
                "transductive": data.get("transductive", False),
                "label": data.get("label"),
                "source": card.get("source"),
                "steps": record.get("steps", 0),
                "seconds": record.get("seconds"),
                "images_per_second": record.get("images_per_second"),
                "data_wait": record.get("data_wait"),
                "device": record.get("device", ""),
                "peak_memory_mb": record.get("peak_memory_mb"),
                "peak_device_memory_mb": record.get("peak_device_memory_mb"),
            }
        )
    return rows
