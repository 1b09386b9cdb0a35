"""Small volumes on an oblique grid, where an exchanged axis or a lost sign shows at once."""

import numpy as np
import SimpleITK as sitk


def oblique_image(size: tuple[int, int, int] = (10, 8, 6), seed: int = 0, left_handed: bool = False) -> sitk.Image:
    """A random float32 volume with unequal spacing and axes turned about all three directions."""
    values = np.random.default_rng(seed).random(size[::-1], dtype=np.float32)
    return on_oblique_grid(values, left_handed)


def on_oblique_grid(values: np.ndarray, left_handed: bool = False) -> sitk.Image:
    """The voxels (k, j, i) on the oblique grid of these tests."""
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((0.5, 0.75, 2.0))
    image.SetOrigin((-20.0, 15.0, 4.0))
    turn = sitk.Euler3DTransform()
    turn.SetRotation(0.1, -0.2, 0.3)
    direction = np.reshape(turn.GetMatrix(), (3, 3))
    if left_handed:
        direction = direction @ np.diag([1.0, 1.0, -1.0])
    image.SetDirection(direction.ravel().tolist())
    return image


def positions_ras(image: sitk.Image) -> np.ndarray:
    """The RAS position (k, j, i, 3) in mm of every voxel."""
    i, j, k = np.meshgrid(*(np.arange(n) for n in image.GetSize()), indexing="ij")
    index = np.stack([i, j, k], axis=-1).transpose(2, 1, 0, 3)
    axes = np.reshape(image.GetDirection(), (3, 3)) @ np.diag(image.GetSpacing())
    return (index @ axes.T + np.asarray(image.GetOrigin())) * np.array([-1.0, -1.0, 1.0])
