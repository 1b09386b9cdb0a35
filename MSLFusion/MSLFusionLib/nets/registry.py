"""Networks by architecture name, as written in a checkpoint's card."""

from collections.abc import Callable
from typing import Any

from torch import nn

from MSLFusionLib.errors import InputError
from MSLFusionLib.nets.cmfnet import CMFConfig, CMFNet
from MSLFusionLib.nets.dc2fusion import DC2Config, DC2Fusion
from MSLFusionLib.nets.msl import MSL
from MSLFusionLib.nets.mslconfig import MSLConfig
from MSLFusionLib.nets.unet import BicubicUNet, BicubicUNetConfig

_BUILDERS: dict[str, Callable[[dict[str, Any]], nn.Module]] = {
    "msl": lambda config: MSL(MSLConfig.from_dict(config)),
    "dc2fusion": lambda config: DC2Fusion(DC2Config.from_dict(config)),
    "cmf-net": lambda config: CMFNet(CMFConfig.from_dict(config)),
    "unet-bicubic": lambda config: BicubicUNet(BicubicUNetConfig.from_dict(config)),
}

ARCHITECTURES = tuple(_BUILDERS)


def build(architecture: str, config: dict[str, Any]) -> nn.Module:
    """A freshly initialised network; InputError for an unknown architecture or setting."""
    if architecture not in _BUILDERS:
        raise InputError(f"The architecture '{architecture}' is unknown: use one of {', '.join(ARCHITECTURES)}.")
    return _BUILDERS[architecture](config)
