"""Published settings of models, as blocks of a config. Imports nothing heavy: the DAG is built with it."""

PRESETS = {
    # Single cells, several channels in one network (Pfaendler et al. 2022; Palli 2023, section 3.5.2): the settings of
    # DINO, 224 pixels, channels from 0 to 1, mean patch weights of colours.
    "scdino": {
        "normalize": "range",
        "adapt": "average",
        "network": {"architecture": "vit", "size": "small", "patch": 16},
        "train": {"epochs": 200, "learning_rate": 5e-4},
        "views": {"global_size": 224, "local_size": 96},
    },
    # BBBC021 (Cross-Zamirski et al. 2022; thesis 2023, section 5.3.5): one network per channel from DINO on ImageNet.
    "ws_dino_bbbc021": {
        "per_channel": True,
        "adapt": "sum",
        "normalize": "image",
        "network": {"architecture": "vit", "size": "small", "patch": 8},
        "train": {
            "epochs": 400,
            "batch": 16,
            "learning_rate": 4e-6,
            "final_learning_rate": 3e-6,
            "warmup_epochs": 10,
            "weight_decay": 0,
            "final_weight_decay": 0,
            "clip_gradient": None,
        },
        "views": {
            "global_size": 224,
            "global_scale": [0.1, 0.2],
            "n_local": 8,
            "local_size": 96,
            "local_scale": [0.04, 0.08],
            "flips": True,
        },
        "head": {"layers": 3, "hidden": 2048, "bottleneck": 256, "out": 384},
        "teacher": {"momentum": 0.99, "final_momentum": 0.99, "temperature": 0.04, "warmup_epochs": 10},
        "embed": {"views": "centre_crops", "crop": 224, "grid": 2, "statistic": "median", "l2": True},
    },
}
