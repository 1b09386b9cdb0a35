"""What can be chosen of an MSL network; see msl."""

from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from MSLFusionLib.errors import InputError

STRIDE = 16
"""One token stands for STRIDE x STRIDE pixels: slices must be multiples of it."""


@dataclass(frozen=True)
class MSLConfig:
    """Sizes and choices of an MSL network; every row of the comparison with the paper is one field.

    modalities: names in the order of the encoders.
    width: channels of the encoder at full resolution; it doubles at each of the two downsamplings.
    space_to_depth: the encoder starts, and the decoder ends, at half resolution with 2 x 2 pixels as channels.
    encoder_blocks: residual blocks of each encoder; encoder_blocks_used False keeps them without calling them, as
        the published code does.
    encoder_norm: "instance", "channel" or "none".
    token_dim, depth, heads, head_dim, mlp_dim, dropout: the transformer.
    shared_projection: one patch projection for all modalities.
    token_norm: "l2" (unit length), "layer" or "none".
    position_std: spread of the initial position table, truncated normal below 1.
    token_grid: rows and columns of the position table, interpolated for other slice sizes.
    unused_class_token: a second class token that takes no part, as in the published code.
    fusion: "sum" (equations 3, 4, 7 as printed) or "mean" of the token groups present.
    up_norm: "instance" or "batch".
    decoder_blocks: residual blocks of the decoder; cin_both: conditional normalisation after both convolutions.
    cin_relu, cin_unbiased: see ConditionalInstanceNorm. embedding: size of f_s(lambda).
    skips: encoder features of the modalities present reach the decoder at every resolution.
    residual: the output is the (1 - lambda, lambda) blend of the sensor images present plus what the network adds.
    output: "tanh" or "linear".
    cascades: learned steps between corrections towards the data (see recon.unrolled), 0 for none; they share one
        network of refine_width channels.
    """

    modalities: tuple[str, ...] = ("ct", "mr")
    width: int = 64
    space_to_depth: bool = False
    encoder_blocks: int = 3
    encoder_blocks_used: bool = True
    encoder_norm: str = "instance"
    token_dim: int = 1024
    depth: int = 2
    heads: int = 8
    head_dim: int = 64
    mlp_dim: int = 3072
    dropout: float = 0.0
    shared_projection: bool = False
    token_norm: str = "layer"
    position_std: float = 0.02
    token_grid: tuple[int, int] = (24, 24)
    unused_class_token: bool = False
    fusion: str = "mean"
    up_norm: str = "instance"
    decoder_blocks: int = 3
    cin_both: bool = False
    cin_relu: bool = False
    cin_unbiased: bool = False
    embedding: int = 256
    skips: bool = True
    residual: bool = True
    output: str = "linear"
    cascades: int = 0
    refine_width: int = 32

    def __post_init__(self) -> None:
        object.__setattr__(self, "modalities", tuple(self.modalities))
        object.__setattr__(self, "token_grid", tuple(self.token_grid))
        choices = {
            "encoder_norm": ("instance", "channel", "none"),
            "up_norm": ("instance", "channel", "batch"),
            "token_norm": ("l2", "layer", "none"),
            "fusion": ("sum", "mean"),
            "output": ("tanh", "linear"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise InputError(f"MSL {name} '{getattr(self, name)}' is unknown: use one of {', '.join(allowed)}.")
        if len(self.modalities) < 2 or len(set(self.modalities)) != len(self.modalities):
            raise InputError("MSL needs at least two different modalities.")
        for name in ("width", "token_dim", "depth", "heads", "head_dim", "mlp_dim", "embedding", "refine_width"):
            if not 1 <= getattr(self, name) <= 8192:
                raise InputError(f"MSL {name} must lie between 1 and 8192, not {getattr(self, name)}.")
        if not (0 <= self.encoder_blocks <= 64 and 0 <= self.decoder_blocks <= 64):
            raise InputError("MSL encoder_blocks and decoder_blocks must lie between 0 and 64.")
        if not 0 <= self.cascades <= 16:
            raise InputError(f"MSL cascades must lie between 0 and 16, not {self.cascades}.")
        if len(self.token_grid) != 2 or not all(1 <= n <= 256 for n in self.token_grid):
            raise InputError("MSL token_grid must be two numbers between 1 and 256.")

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON types."""
        values = asdict(self)
        return values | {"modalities": list(self.modalities), "token_grid": list(self.token_grid)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "MSLConfig":
        """The inverse of to_dict; InputError names a key or a value that does not belong."""
        types = {f.name: type(f.default) for f in fields(cls)}
        unknown = sorted(set(values) - set(types))
        if unknown:
            raise InputError(f"MSL has no setting '{unknown[0]}'.")
        for name, value in values.items():
            kind = types[name]
            allowed: tuple[type, ...] = {tuple: (list, tuple), float: (int, float)}.get(kind, (kind,))
            if not isinstance(value, allowed) or (kind is not bool and isinstance(value, bool)):
                raise InputError(f"MSL setting '{name}' has the unusable value {value!r}.")
        return cls(**values)

    def with_(self, **changes: Any) -> "MSLConfig":
        """A copy with some fields changed."""
        return replace(self, **changes)
