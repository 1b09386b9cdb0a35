"""Random functions of position: the same seed gives the same function, whatever grid it is evaluated on."""

import numpy as np
from scipy import fft, ndimage

from MSLFusionLib.phantom.shapes import Array


class NoiseField:
    """Periodic Gaussian noise of zero mean and unit variance around one wavelength.

    Made once on an n^3 grid of `spacing` mm by filtering white noise in Fourier space with a log-normal
    band around `wavelength_mm`; read anywhere by B-spline interpolation of `order` 1 or 3. The spline's
    prefilter is applied in Fourier space too, which is exact for a periodic field.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        wavelength_mm: float,
        *,
        bandwidth: float = 0.25,
        spacing: float = 2.0,
        n: int = 64,
        order: int = 1,
        gradient: bool = False,
    ) -> None:
        frequency = np.fft.fftfreq(n, spacing).astype(np.float32)
        half = np.fft.rfftfreq(n, spacing).astype(np.float32)
        fz, fy, fx = frequency[:, None, None], frequency[None, :, None], half[None, None, :]
        radius = np.sqrt(fz**2 + fy**2 + fx**2)
        radius[0, 0, 0] = 1e-6
        band = np.exp(-0.5 * (np.log(radius * wavelength_mm) / bandwidth) ** 2).astype(np.float32)
        band[0, 0, 0] = 0.0
        white = rng.standard_normal((n, n, n), dtype=np.float32)
        spectrum = fft.rfftn(white) * band
        scale = 1.0 / float(np.std(fft.irfftn(spectrum, s=white.shape)))
        spectrum *= scale
        self.order = order
        self.spacing = spacing
        self._slope: Array | None = None
        if gradient:
            square = np.zeros(white.shape, np.float32)
            for f in (fz, fy, fx):
                square += fft.irfftn(spectrum * np.complex64(2j * np.pi) * f, s=white.shape) ** 2
            self._slope = np.sqrt(square)
        if order == 3:
            for f in (fz, fy, fx):
                spectrum /= (2.0 + np.cos(np.float32(2 * np.pi * spacing) * f)) / 3.0
        self._values = fft.irfftn(spectrum, s=white.shape)

    def __call__(self, x: Array, y: Array, z: Array) -> Array:
        """The field at positions in mm (float32 arrays of one shape)."""
        return self._read(self._values, x, y, z, self.order)

    def slope(self, x: Array, y: Array, z: Array) -> Array:
        """Length of the field's gradient [1/mm] (only for fields made with gradient=True)."""
        assert self._slope is not None
        return self._read(self._slope, x, y, z, 1)

    def _read(self, values: Array, x: Array, y: Array, z: Array, order: int) -> Array:
        s = 1.0 / self.spacing
        where = np.stack([z * s, y * s, x * s])
        result: Array = ndimage.map_coordinates(
            values, where, output=np.float32, order=order, mode="grid-wrap", prefilter=False
        )
        return result


class WaveField:
    """A smooth random function as a sum of a few cosine waves: cheap, for wavelengths of the head's size.

    Unit variance; `waves` random directions and phases around `wavelength_mm`.
    """

    def __init__(self, rng: np.random.Generator, wavelength_mm: float, waves: int = 7) -> None:
        direction = rng.standard_normal((waves, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        length = wavelength_mm * np.exp(rng.uniform(-0.35, 0.35, (waves, 1)))
        self._k = (2 * np.pi / length * direction).astype(np.float32)
        self._phase = rng.uniform(0, 2 * np.pi, waves).astype(np.float32)
        self._amplitude = float(np.sqrt(2.0 / waves))

    def __call__(self, x: Array, y: Array, z: Array) -> Array:
        """The function at positions in mm."""
        total = np.zeros_like(x)
        for (kx, ky, kz), phase in zip(self._k, self._phase, strict=True):
            total += np.cos(kx * x + ky * y + kz * z + phase)
        return total * self._amplitude
