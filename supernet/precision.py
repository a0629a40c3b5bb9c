"""Which precision a device computes in fast."""

from __future__ import annotations

import warnings
from typing import Literal

import torch

Precision = Literal["fp32", "bf16", "fp16"]
PrecisionChoice = Precision | Literal["auto"]


def settled_precision(precision: PrecisionChoice, device: str) -> Precision:
    """What ``auto`` stands for on a device, and any other precision as it is.

    That is bf16 where the device has instructions for it, fp32 elsewhere: a processor without
    them computes bf16 value by value, which takes many times as long as fp32.

    Args:
        precision: as settings say it.
        device: type of the device, ``cpu`` or ``cuda``. Of GPUs that other machines have, bf16 is
            expected; of processors, that they are like this one.
    """
    if precision != "auto":
        return precision
    return "bf16" if _has_bf16(device) else "fp32"


def warn_of_emulation(precision: str, device: str) -> None:
    """Say where a computation will be slow that was asked to be in bf16.

    Args:
        precision: that it is done in.
        device: type of the device that does it.
    """
    if precision == "bf16" and not _has_bf16(device):
        warnings.warn(
            f"this {device} has no bf16 instructions and takes many times as long as in fp32; "
            'give precision = "auto"',
            stacklevel=2,
        )


def _has_bf16(device: str) -> bool:
    if device != "cpu":
        there = torch.cuda.is_available()
        return not there or torch.cuda.is_bf16_supported(including_emulation=False)
    if torch.backends.cpu.get_cpu_capability().startswith("AVX"):
        # oneDNN also takes AVX-512 alone for support, on which fp32 is faster.
        return bool(torch.cpu._is_avx512_bf16_supported())
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
