"""Which UNets evounet takes: Stable Diffusion's and SDXL's kind. Others are refused with a reason.

Block ids and signatures hold for UNets of ResNets and transformers that are conditioned on a
timestep and a prompt, with or without SDXL's pooled prompt and picture size, and for no others.
Settings without a rule change neither, or nothing at all where these blocks are used.
"""

from __future__ import annotations

from typing import Any

from supernet.architecture import ArchitectureError, UNetConfig

_CONDITIONING = "this UNet is conditioned on more than a timestep and a prompt"
_BLOCKS = "this UNet has parts for which there is no latency signature"
_SCALE = "a removed ResNet of this UNet would leave its shortcut without the scale on it"

# Settings of UNet2DConditionModel with the values that they may have, the default among them;
# a list may have them in any mixture.
_RULES: tuple[tuple[str, tuple[Any, ...], str], ...] = (
    ("class_embed_type", (None,), _CONDITIONING),
    ("num_class_embeds", (None,), _CONDITIONING),
    ("addition_embed_type", (None, "text_time"), _CONDITIONING),
    ("encoder_hid_dim", (None,), _CONDITIONING),
    ("encoder_hid_dim_type", (None,), _CONDITIONING),
    ("attention_type", ("default",), _CONDITIONING),
    ("class_embeddings_concat", (False,), _CONDITIONING),
    ("time_cond_proj_dim", (None,), _CONDITIONING),
    ("down_block_types", ("CrossAttnDownBlock2D", "DownBlock2D"), _BLOCKS),
    ("mid_block_type", ("UNetMidBlock2DCrossAttn", "UNetMidBlock2D", None), _BLOCKS),
    ("up_block_types", ("CrossAttnUpBlock2D", "UpBlock2D"), _BLOCKS),
    ("only_cross_attention", (False,), _BLOCKS),
    ("dual_cross_attention", (False,), _BLOCKS),
    ("resnet_time_scale_shift", ("default",), _BLOCKS),
    ("time_embedding_type", ("positional",), _BLOCKS),
    ("conv_in_kernel", (3,), _BLOCKS),
    ("conv_out_kernel", (3,), _BLOCKS),
    ("downsample_padding", (1,), _BLOCKS),
    ("act_fn", ("silu", "swish"), _BLOCKS),
    ("mid_block_scale_factor", (1,), _SCALE),
)

_FLAGS = ("center_input_sample", "flip_sin_to_cos", "upcast_attention", "use_linear_projection")


def check_supported(config: UNetConfig) -> None:
    """See that a configuration is of a UNet that evounet takes.

    Raises:
        ArchitectureError: naming the setting, its value, why it is refused and what it may be.
    """
    for setting, allowed, reason in _RULES:
        value = config.values.get(setting, allowed[0])
        for each in value if isinstance(value, list) else [value]:
            if each not in allowed:
                choices = " or ".join(str(choice) for choice in allowed)
                raise ArchitectureError(
                    f"{reason}: {setting} is {each!r}; only {choices} is supported"
                )
    for setting in _FLAGS:
        flag = config.values.get(setting)
        if not isinstance(flag, bool | None):
            raise ArchitectureError(f"field '{setting}' is {flag!r}; give true or false")
    widths = config.values.get("cross_attention_dim")
    if isinstance(widths, list) and len(set(widths)) > 1:
        raise ArchitectureError(
            f"the stages of this UNet take prompts of different widths: cross_attention_dim is "
            f"{widths}; only one width is supported"
        )
