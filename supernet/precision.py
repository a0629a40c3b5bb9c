"""Which precision a device computes in fast."""

from __future__ import annotations

from typing import Literal

import torch

Precision = Literal["fp32", "bf16", "fp16"]


def settled_precision(precision: Precision | Literal["auto"], device: str) -> Precision:
    """What ``auto`` stands for on a device, and any other precision as it is.

    That is bf16 where the device has instructions for it, fp32 elsewhere: a processor without
    them computes bf16 value by value, and a product of matrices then takes a hundred times as
    long as in fp32.

    Args:
        precision: as settings say it.
        device: type of the device, ``cpu`` or ``cuda``. Of GPUs that other machines have, bf16 is
            expected; of processors, that they are like this one.
    """
    if precision != "auto":
        return precision
    return "bf16" if _has_bf16(device) else "fp32"


def _has_bf16(device: str) -> bool:
    if device != "cpu":
        there = torch.cuda.is_available()
        return not there or torch.cuda.is_bf16_supported(including_emulation=False)
    if torch.backends.cpu.get_cpu_capability().startswith("AVX"):
        # oneDNN also takes AVX-512 alone for support, on which fp32 is faster.
        return bool(torch.cpu._is_avx512_bf16_supported())
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
