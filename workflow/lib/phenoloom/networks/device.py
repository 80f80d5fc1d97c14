"""Where a network runs: on a GPU where one is given and there, else on the CPU."""

import contextlib
import logging

import torch

log = logging.getLogger("phenoloom")


def choose_device(gpus):
    """The device of a job that was given `gpus` GPUs: a GPU, or the CPU where none is given or none is there."""
    if gpus and torch.cuda.is_available():
        return torch.device("cuda")
    if gpus:
        log.warning("%s GPU asked for and none found: the job runs on the CPU", gpus)
    return torch.device("cpu")


def fast_bfloat16(device):
    """Whether a device multiplies matrices of bfloat16 in hardware: several times as fast as float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capable = torch.cpu.get_capabilities()
    return bool(capable.get("avx512_bf16") or capable.get("amx_bf16"))


def mixed_precision(device):
    """Context of automatic mixed precision on a GPU (bfloat16 where it has it, else float16); none on the CPU."""
    if device.type != "cuda":
        return contextlib.nullcontext()
    return torch.autocast("cuda", torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16)
