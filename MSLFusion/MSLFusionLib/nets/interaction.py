"""The transformer of an MSL network, which exchanges features between the modalities."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from MSLFusionLib.nets.encoder import Features
from MSLFusionLib.nets.layers import Dropout, PatchProjection, TransformerLayer
from MSLFusionLib.nets.mslconfig import MSLConfig


class Interaction(nn.Module):
    """Cross-domain interaction: patches of every modality, once per target modality, through a transformer."""

    def __init__(self, config: MSLConfig) -> None:
        super().__init__()
        n, dim = len(config.modalities), config.token_dim
        self.config = config
        projections = 1 if config.shared_projection else n
        self.project = nn.ModuleList([PatchProjection(4 * config.width, dim) for _ in range(projections)])
        self.norm = nn.LayerNorm(dim) if config.token_norm == "layer" else nn.Identity()
        self.class_token = nn.Parameter(torch.randn(1, 1, dim))
        if config.unused_class_token:
            self.unused_class_token = nn.Parameter(torch.randn(1, 1, dim))
        self.position = nn.Parameter(torch.empty(n * n, dim, *config.token_grid))
        self.class_position = nn.Parameter(torch.empty(1, 1, dim))
        for table in (self.position, self.class_position):
            if config.position_std < 1:
                nn.init.trunc_normal_(table, std=config.position_std)
            else:
                nn.init.normal_(table, std=config.position_std)
        self.dropout = Dropout(config.dropout)
        self.layers = nn.ModuleList(
            [
                TransformerLayer(dim, config.heads, config.head_dim, config.mlp_dim, config.dropout)
                for _ in range(config.depth)
            ]
        )

    def forward(
        self, features: Sequence[Features | None], present: Tensor | None, origin: tuple[int, int] | None = None
    ) -> Tensor:
        """Token groups (N, n * n, tokens, D); group i * n + j is modality i's share for modality j.

        features: one per modality, None where a modality is absent in the whole batch.
        present: (N, n) bool; the tokens of absent modalities are left out of the attention (equations 5 and 6).
            None when every given modality is there in every slice, which is quicker.
        origin: row and column, in tokens, of a crop within the slice that the position table was made for.
        """
        n = len(self.config.modalities)
        seen = [i for i, f in enumerate(features) if f is not None]
        deep = [f.deep for f in features if f is not None]
        batch, _, rows, columns = deep[0].shape
        rows, columns = rows // 4, columns // 4
        position = self._position(rows, columns, origin)
        tokens = [self.class_token.expand(batch, -1, -1) + self.class_position]
        keys = [] if present is None else [present.new_ones(batch, 1)]
        for i, feature in zip(seen, deep, strict=True):
            project = self.project[0 if self.config.shared_projection else i]
            patches = project(feature).flatten(2).transpose(1, 2)
            if self.config.token_norm == "l2":
                patches = F.normalize(patches, dim=-1)
            patches = self.norm(patches)
            for j in range(n):
                tokens.append(patches + position[i * n + j])
                if present is not None:
                    keys.append(present[:, i : i + 1].expand(-1, rows * columns))
        x = self.dropout(torch.cat(tokens, 1))
        mask = torch.cat(keys, 1) if keys else None
        for layer in self.layers:
            x = layer(x, mask)
        out = x[:, 1:].reshape(batch, len(seen), n, rows * columns, -1)
        if len(seen) == n:
            return out.flatten(1, 2)
        groups = out.new_zeros(batch, n, n, rows * columns, out.shape[-1])
        groups[:, seen] = out
        return groups.flatten(1, 2)

    def _position(self, rows: int, columns: int, origin: tuple[int, int] | None) -> Tensor:
        """The position table for a token grid, (n * n, tokens, D)."""
        table: Tensor = self.position
        if origin is not None:
            r, c = origin
            table = table[:, :, r : r + rows, c : c + columns]
        if table.shape[-2:] != (rows, columns):
            table = F.interpolate(table, (rows, columns), mode="bicubic", align_corners=False)
        return table.flatten(2).transpose(1, 2)
