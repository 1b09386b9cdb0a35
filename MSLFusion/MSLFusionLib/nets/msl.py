"""The multi-sensor learning network (Zhu et al., TPAMI 2024): one class for all presets.

Two physics-informed encoders see the sensor images (FBP of the sparse sinogram, zero-filled inverse FFT of the
undersampled k-space), a transformer exchanges inter-modality features, and a decoder conditioned on lambda turns the
multi-sensor representation into an image between CT (lambda = 0) and MRI (lambda = 1).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from MSLFusionLib.errors import InputError
from MSLFusionLib.nets.decoder import Decoder, Latent
from MSLFusionLib.nets.encoder import Encoder, Features
from MSLFusionLib.nets.interaction import Interaction
from MSLFusionLib.nets.layers import NORMS
from MSLFusionLib.nets.mslconfig import STRIDE, MSLConfig
from MSLFusionLib.nets.refine import Refiner


class MSL(nn.Module):
    """The whole network: `encode` once per slice, `decode` for every lambda or lambda map."""

    def __init__(self, config: MSLConfig) -> None:
        super().__init__()
        self.config = config
        w, dim, n = config.width, config.token_dim, len(config.modalities)
        self.encoders = nn.ModuleList([Encoder(config) for _ in config.modalities])
        self.interaction = Interaction(config)
        self.up = nn.Sequential(*_upsample(dim, dim // 2, config), *_upsample(dim // 2, 4 * w, config))
        self.decoder = Decoder(config)
        if config.skips:
            widths = [2 * w] if config.space_to_depth else [2 * w, w]
            self.skip_multi = nn.ModuleList([nn.Conv2d(4 * w, 4 * w, 1) for _ in range(n)])
            self.skip_fine = nn.ModuleList([nn.ModuleList([nn.Conv2d(c, c, 1) for _ in range(n)]) for c in widths])
        if config.cascades:
            self.refiner = Refiner(n, config.refine_width, config.cascades)

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities in the order that `encode` takes them."""
        return self.config.modalities

    def encode(
        self,
        *images: Tensor | None,
        present: Tensor | None = None,
        origin: tuple[int, int] | None = None,
    ) -> Latent:
        """The latent of a batch of slices.

        images: one sensor image per modality, (N, 1, H, W) in [0, 1], H and W multiples of 16; None where a
            modality is absent.
        present: (N, modalities) bool, which of the images of each slice to use (all given ones by default).
        origin: see Interaction.forward.
        Raises InputError for sizes that are no multiple of 16, or when a slice has no modality at all.
        """
        features = self.features(images)
        here = self.presence(images, present)
        groups = self.interaction(features, None if present is None else here, origin)
        return self.fuse(features, groups, here)

    def features(self, images: Sequence[Tensor | None]) -> list[Features | None]:
        """Each encoder's view of its sensor image."""
        if len(images) != len(self.modalities):
            raise InputError(f"This network takes {len(self.modalities)} modalities, not {len(images)}.")
        for image in images:
            if image is not None and (image.shape[-1] % STRIDE or image.shape[-2] % STRIDE):
                rows, columns = image.shape[-2:]
                raise InputError(f"The slice size {rows} x {columns} must be a multiple of {STRIDE}.")
        return [None if image is None else encoder(image) for encoder, image in zip(self.encoders, images, strict=True)]

    def presence(self, images: Sequence[Tensor | None], present: Tensor | None) -> Tensor:
        """(N, modalities) bool: what is given and not masked. InputError when a slice has nothing."""
        given = [image is not None for image in images]
        some = next((image for image in images if image is not None), None)
        if some is None:
            raise InputError("At least one modality must be given.")
        here = torch.tensor(given).expand(some.shape[0], -1)
        if present is not None:
            here = here.to(present.device) & present
            if not bool(here.any(1).all()):
                raise InputError("At least one modality must be present in every slice.")
        return here.to(some.device, non_blocking=True)

    def fuse(self, features: Sequence[Features | None], groups: Tensor, present: Tensor) -> Latent:
        """f_multi from the token groups of the modalities present (equations 3 to 7), with the skip path.

        Absent modalities contribute nothing, by selection rather than by multiplying with zero, so that not even
        their gradient is touched.
        """
        n = len(self.modalities)
        share = present.to(groups.dtype)
        if self.config.fusion == "mean":
            share = share / (share.sum(1, keepdim=True) * n)
        tokens = (groups.unflatten(1, (n, n)).sum(2) * share[:, :, None, None]).sum(1)
        deep = next(f.deep for f in features if f is not None)
        rows, columns = deep.shape[-2] // 4, deep.shape[-1] // 4
        multi = self.up(tokens.transpose(1, 2).unflatten(2, (rows, columns)))
        skips: list[Tensor] = []
        if self.config.skips:
            multi = multi + self._skip(self.skip_multi, [f and f.deep for f in features], present)
            for level, layers in enumerate(self.skip_fine):
                maps = [f and f.fine[-1 - level] for f in features]
                skips.append(self._skip(layers, maps, present))
        base = None
        if self.config.residual:
            image = next(f.image for f in features if f is not None)
            images = [torch.zeros_like(image) if f is None else f.image for f in features]
            base = torch.cat(images, 1)
            base = torch.where(present[:, :, None, None], base, torch.zeros_like(base))
        return Latent(multi, tuple(skips), base, groups if self.training else None)

    def _skip(self, layers: nn.Module, maps: Sequence[Any], present: Tensor) -> Tensor:
        total: Any = 0
        for i, (layer, feature) in enumerate(zip(layers, maps, strict=True)):  # type: ignore[call-overload]
            if feature is not None:
                here = present[:, i, None, None, None]
                y = layer(feature)
                total = total + torch.where(here, y, torch.zeros_like(y))
        return total

    def decode(self, latent: Latent, lam: float | Tensor) -> Tensor:
        """The hybrid image X_lambda, (N, 1, H, W); clipped to [0, 1] outside training.

        lam: a number, one number per slice (N,), or a map (N, 1, H, W), in [0, 1]; or weights of the n modalities
        on the simplex, (N, n) or (N, n, H, W), which with n = 2 are (1 - lambda, lambda). Raises InputError for a
        single number where there are more than two modalities.
        """
        return self.decode_all(latent, [lam])[0]

    def decode_all(self, latent: Latent, lams: Sequence[float | Tensor]) -> list[Tensor]:
        """The hybrid image of each lambda, as `decode` gives it; what lambda does not touch is computed once."""
        first = self.decoder.first(latent)
        return [self._decode(latent, self._condition(latent, lam), first) for lam in lams]

    def _decode(self, latent: Latent, lam: Tensor, first: Tensor | None) -> Tensor:
        image = self.decoder(latent, lam, first)
        if latent.base is not None:
            weights = torch.cat([1 - lam, lam], 1) if len(self.modalities) == 2 else lam
            image = image + (latent.base * weights).sum(1, keepdim=True)
        return image if self.training else image.clamp(0, 1)

    def _condition(self, latent: Latent, lam: float | Tensor) -> Tensor:
        """lam as (N, K, 1, 1) or (N, K, H, W) on the latent's device."""
        n = latent.multi.shape[0]
        lam = torch.as_tensor(lam, dtype=torch.float32, device=latent.multi.device)
        if lam.ndim == 0:
            lam = lam.expand(n)
        if lam.ndim <= 2:
            lam = lam.reshape(lam.shape[0], -1, 1, 1)
        modalities = len(self.modalities)
        if modalities == 2 and lam.shape[1] == 2:
            lam = lam[:, 1:]
        if lam.shape[1] != (1 if modalities == 2 else modalities):
            raise InputError(f"A network of {modalities} modalities takes a weight for each, not {lam.shape[1]}.")
        return lam.expand(n, -1, -1, -1)


def _upsample(cin: int, cout: int, config: MSLConfig) -> list[nn.Module]:
    return [
        nn.ConvTranspose2d(cin, cout, 3, 2, padding=1, output_padding=1),
        NORMS[config.up_norm](cout),
        nn.ReLU(inplace=True),
    ]
