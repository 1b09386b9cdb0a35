"""The weights of the authors' network, renamed for ours.

Their module keeps residual blocks of the encoder that its forward pass never calls, a second class token that takes
no part, and registers the layers of the decoder's residual block twice; this page of names says where each tensor
goes, and that the second copies must equal the first.
"""

import torch
from torch import Tensor

from MSLFusionLib.errors import InputError
from MSLFusionLib.nets.msl import MSL
from MSLFusionLib.nets.presets import preset_config

_BLOCK = "decoder.model.0."


def names() -> dict[str, str]:
    """Our name of each of their tensors that is copied as it is."""
    table: dict[str, str] = {}

    def both(theirs: str, ours: str) -> None:
        for kind in ("weight", "bias"):
            table[f"{theirs}.{kind}"] = f"{ours}.{kind}"

    for i in range(2):
        theirs, ours = f"encoder{i + 1}", f"encoders.{i}"
        both(f"{theirs}.model.0.conv", f"{ours}.stem.0.0")
        both(f"{theirs}.model.1.conv", f"{ours}.down.0.0")
        both(f"{theirs}.model.2.conv", f"{ours}.down.1.0")
        for block in range(3):
            for conv in range(2):
                both(f"{theirs}.model2.{block}.model.{conv}.conv", f"{ours}.blocks.{block}.body.{conv}.0")
    both("to_patch_embedding.0", "interaction.project.0")
    table["cls_token_ct"] = "interaction.class_token"
    table["cls_token_mri"] = "interaction.unused_class_token"
    for layer in range(2):
        theirs, ours = f"transformer.layers.{layer}", f"interaction.layers.{layer}"
        both(f"{theirs}.0.norm", f"{ours}.norm1")
        table[f"{theirs}.0.fn.to_qkv.weight"] = f"{ours}.attention.qkv.weight"
        both(f"{theirs}.0.fn.to_out.0", f"{ours}.attention.out")
        both(f"{theirs}.1.norm", f"{ours}.norm2")
        both(f"{theirs}.1.fn.net.0", f"{ours}.mlp.0")
        both(f"{theirs}.1.fn.net.3", f"{ours}.mlp.3")
    for i in range(2):
        both(f"upsampling{i + 1}.0", f"up.{3 * i}")
        both(f"upsampling{i + 1}.1", f"up.{3 * i + 1}")
        for buffer in ("running_mean", "running_var", "num_batches_tracked"):
            table[f"upsampling{i + 1}.1.{buffer}"] = f"up.{3 * i + 1}.{buffer}"
    both("G_D", "decoder.embed")
    both(f"{_BLOCK}conv_block.0.module1", "decoder.blocks.0.conv1")
    both(f"{_BLOCK}conv_block.2", "decoder.blocks.0.conv2")
    for kind in ("scale", "shift"):
        table[f"{_BLOCK}conv_block.3.{kind}"] = f"decoder.blocks.0.norm2.{kind}"
    both("decoder.model.1", "decoder.ups.0")
    both("decoder.model.4", "decoder.ups.1")
    both("decoder.model.8", "decoder.head.0")
    return table


def _linear_names() -> dict[str, str]:
    """Their 1 x 1 convolutions of the lambda embedding are linear maps here."""
    table = {}
    places = {
        f"{_BLOCK}conv_block.0.module2": "decoder.blocks.0.norm1",
        "decoder.model.2": "decoder.norms.0",
        "decoder.model.5": "decoder.norms.1",
    }
    for theirs, ours in places.items():
        for conv, linear in (("scale_conv.0", "gamma"), ("shift_conv.0", "beta")):
            for kind in ("weight", "bias"):
                table[f"{theirs}.{conv}.{kind}"] = f"{ours}.{linear}.{kind}"
    return table


def from_official(state: dict[str, Tensor]) -> MSL:
    """The `official` preset with the authors' weights, in evaluation mode.

    state: their state_dict, with or without the prefix "module." of a parallel wrapper.
    Raises InputError when a tensor is missing, left over, of another shape, or when the doubled ones disagree.
    """
    state = {key.removeprefix("module."): value for key, value in state.items()}
    doubled = [key for key in state if key.startswith(_BLOCK) and not key.startswith(f"{_BLOCK}conv_block.")]
    for key in doubled:
        first = state.get(key.replace(_BLOCK, f"{_BLOCK}conv_block.", 1))
        if first is None or not torch.equal(first, state.pop(key)):
            raise InputError(f"The two copies of '{key}' disagree: this is not the authors' network.")
    model = MSL(preset_config("official"))
    ours: dict[str, Tensor] = {}
    linear = _linear_names()
    try:
        for theirs, name in names().items():
            ours[name] = state.pop(theirs)
        for theirs, name in linear.items():
            ours[name] = state.pop(theirs).flatten(1) if name.endswith("weight") else state.pop(theirs)
        position = state.pop("pos_embedding")
        rows, columns = model.config.token_grid
        ours["interaction.class_position"] = position[:, :1]
        tokens = position[0, 1:].unflatten(0, (4, rows, columns))
        ours["interaction.position"] = tokens.permute(0, 3, 1, 2).contiguous()
        if state:
            raise InputError(f"The weights hold '{next(iter(state))}', which the authors' network does not have.")
        model.load_state_dict(ours)
    except KeyError as error:
        raise InputError(f"The weights lack {error}: this is not the authors' network.") from None
    except (RuntimeError, IndexError):
        raise InputError("The weights have other shapes than the authors' network.") from None
    return model.eval()
