"""The reconstruction that the worker holds latents of."""

from dataclasses import dataclass
from typing import Any

from MSLFusionPanel.inputs import Inputs


@dataclass(frozen=True)
class OpenSession:
    """What the worker's answer to `reconstruct` told, and what it was asked with.

    number: the worker's; generation: of the worker process that holds it. shape: of the volume array (z, y, x).
    slice_axis: of that array. geometry: size, spacing_mm, origin_mm, direction in LPS. achieved: sampling rates.
    """

    number: int
    generation: int
    inputs: Inputs
    key: tuple[Any, ...]
    shape: tuple[int, int, int]
    slice_axis: int
    geometry: dict[str, Any]
    achieved: dict[str, Any]

    def fits(self, inputs: Inputs, generation: int) -> bool:
        """Whether it still is the session of these inputs, held by the present worker."""
        return self.generation == generation and self.key == inputs.key()
