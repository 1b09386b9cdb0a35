"""Named configurations of the MSL network: the paper's text, the authors' code, and ours."""

from typing import Any

from MSLFusionLib.errors import InputError
from MSLFusionLib.nets.mslconfig import MSLConfig

_PRESETS = {
    # What the text of Zhu et al. says, with its plain sums and its three residual blocks everywhere.
    "paper": MSLConfig(
        dropout=0.1,
        token_norm="none",
        fusion="sum",
        cin_both=True,
        skips=False,
        residual=False,
        output="tanh",
    ),
    # What the authors' public code computes, parameters that it never calls included.
    "official": MSLConfig(
        encoder_blocks_used=False,
        dropout=0.1,
        shared_projection=True,
        token_norm="l2",
        position_std=1.0,
        unused_class_token=True,
        up_norm="batch",
        decoder_blocks=1,
        cin_relu=True,
        cin_unbiased=True,
        embedding=16,
        skips=False,
        residual=False,
        output="tanh",
    ),
    # Ours at the paper's size.
    "msl": MSLConfig(),
    # Ours, compact: the default on a CPU.
    "msl-lite": MSLConfig(
        width=16,
        space_to_depth=True,
        encoder_norm="channel",
        token_dim=192,
        heads=4,
        head_dim=32,
        mlp_dim=384,
        decoder_blocks=1,
        embedding=64,
    ),
}

PRESETS = tuple(_PRESETS)


def preset_config(name: str, **changes: Any) -> MSLConfig:
    """The configuration of a preset, with some fields changed; InputError for an unknown name."""
    if name not in _PRESETS:
        raise InputError(f"There is no preset '{name}': use one of {', '.join(PRESETS)}.")
    return _PRESETS[name].with_(**changes)
