"""Latents of slices kept in the processor's memory, up to a cap, so that any lambda can be decoded at once."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor

DEFAULT_CAP = 2 * 2**30
"""Bytes: about 250 slices of 384 x 384 of the default model in float32, twice as many in float16."""


class LatentStore:
    """Latents of single slices by slice number.

    cap: bytes to keep at most, but always at least one slice. slices: how many there will be; when they do not fit
    as they are, float32 is kept as float16, except where values would overflow.
    """

    def __init__(self, cap: int, slices: int) -> None:
        self.cap = cap
        self._slices = slices
        self._half: bool | None = None
        self._kept: OrderedDict[int, Any] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, number: int) -> bool:
        return number in self._kept

    @property
    def nbytes(self) -> int:
        """Bytes kept now."""
        return self._bytes

    @property
    def precision(self) -> str | None:
        """How float32 is kept: "float32" or "float16"; None as long as nothing was."""
        return None if self._half is None else "float16" if self._half else "float32"

    def capacity(self) -> int:
        """How many slices of the size of those kept so far fit under the cap, at least one."""
        if not self._kept:
            return 1
        return max(1, int(self.cap * len(self._kept) // max(1, self._bytes)))

    def put(self, numbers: Sequence[int], latent: Any, evict: bool = False) -> None:
        """Keep the latent of a batch slice by slice; where the cap is reached, leave it, or `evict` the oldest."""
        for number, one in zip(numbers, split(latent, len(numbers)), strict=True):
            self._put(int(number), one, evict)

    def get(self, number: int) -> Any | None:
        """The latent of one slice on the CPU, None when it is not kept."""
        if number not in self._kept:
            return None
        self._kept.move_to_end(number)
        return _mapped(_restored, self._kept[number])

    def clear(self) -> None:
        """Give up all."""
        self._kept.clear()
        self._bytes = 0

    def _put(self, number: int, latent: Any, evict: bool) -> None:
        if self._half is None:
            self._half = _bytes_of(latent) * self._slices > self.cap
        kept = _mapped(_halved if self._half else _copied, latent)
        size = _bytes_of(kept)
        self._drop(number)
        while evict and self._kept and self._bytes + size > self.cap:
            self._drop(next(iter(self._kept)))
        if self._kept and self._bytes + size > self.cap:
            return
        self._kept[number] = kept
        self._bytes += size

    def _drop(self, number: int) -> None:
        if number in self._kept:
            self._bytes -= _bytes_of(self._kept.pop(number))


def split(latent: Any, slices: int) -> list[Any]:
    """The latent of a batch as those of its single slices: views, not copies."""
    return [_mapped(lambda tensor, row=row: tensor[row : row + 1], latent) for row in range(slices)]


def joined(latents: Sequence[Any], device: torch.device) -> Any:
    """Latents of single slices as one of a batch, on `device`."""
    return _mapped(lambda *tensors: torch.cat(tensors).to(device), *latents)


def own_copy(latent: Any) -> Any:
    """The latent with memory of its own, on the same device: it can take part in gradients."""
    return _mapped(lambda tensor: tensor.clone(), latent)


def _mapped(function: Callable[..., Tensor], *latents: Any) -> Any:
    """The latent that `function` makes of the tensors at each place of equally built latents."""
    first = latents[0]
    if isinstance(first, Tensor):
        return function(*latents)
    if isinstance(first, tuple):
        return tuple(_mapped(function, *parts) for parts in zip(*latents, strict=True))
    if is_dataclass(first) and not isinstance(first, type):
        names = [field.name for field in fields(first)]
        return replace(first, **{name: _mapped(function, *(getattr(one, name) for one in latents)) for name in names})
    return first


def _bytes_of(latent: Any) -> int:
    total = 0

    def add(tensor: Tensor) -> Tensor:
        nonlocal total
        total += tensor.numel() * tensor.element_size()
        return tensor

    _mapped(add, latent)
    return total


def _copied(tensor: Tensor) -> Tensor:
    """On the CPU and with memory of its own: a view would keep the whole batch."""
    return tensor.cpu() if tensor.device.type != "cpu" else tensor.clone()


def _halved(tensor: Tensor) -> Tensor:
    if tensor.dtype == torch.float32:
        half = tensor.to("cpu", torch.float16)
        if bool(torch.isfinite(half).all()):
            return half
    return _copied(tensor)


def _restored(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype == torch.float16 else tensor
