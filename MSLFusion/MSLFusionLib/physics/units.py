"""Hounsfield units, linear attenuation and the network's CT scale.

mu = HU / 1000 * MU_WATER + MU_WATER with MU_WATER = 0.0192 / mm, clipped to [0, MU_MAX]; the network sees
mu / MU_MAX in [0, 1], which is HU -1000 .. 2125 (the window of Zhu et al., TPAMI 2024, in 1/mm instead of 1/cm).
All functions take a NumPy array or NumPy scalar or a torch tensor and return the same kind.
"""

from typing import Any

MU_WATER = 0.0192
MU_MAX = 0.06


def hu_to_mu(hu: Any) -> Any:
    """Linear attenuation in 1/mm, clipped to [0, MU_MAX], from Hounsfield units."""
    return (hu / 1000.0 * MU_WATER + MU_WATER).clip(0.0, MU_MAX)


def mu_to_hu(mu: Any) -> Any:
    """Hounsfield units from linear attenuation in 1/mm (no clipping)."""
    return (mu / MU_WATER - 1.0) * 1000.0


def hu_to_network(hu: Any) -> Any:
    """The network's CT scale, [0, 1], from Hounsfield units."""
    return hu_to_mu(hu) / MU_MAX


def network_to_hu(value: Any) -> Any:
    """Hounsfield units from the network's CT scale: 0 is -1000 HU, 1 is 2125 HU."""
    return mu_to_hu(value * MU_MAX)
