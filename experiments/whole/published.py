"""What the paper measured, to stand beside what is measured here.

SnapFusion (Li et al., NeurIPS 2023), Table 1 and section 5: an iPhone 14 Pro, ms.
"""

from __future__ import annotations

from experiments.whole.timing import Times

STABLE_DIFFUSION = Times(text_encoder_ms=8.0, unet_ms=1_700.0, steps=50, decoder_ms=369.0)
SNAP_FUSION = Times(text_encoder_ms=8.0, unet_ms=230.0, steps=8, decoder_ms=116.0)
