"""A restored contrast as a scene: coarse and fine volumes, what they were made of, figures, ready to look at."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import SimpleITK as sitk

from MSLFusionLib.scene import bundle, hierarchy, tables, views
from MSLFusionLib.scene.bootstrap import application
from MSLFusionLib.scene.colors import Display, show_as
from MSLFusionLib.scene.transforms import node_from_transform
from MSLFusionLib.scene.volumes import node_from_image

_FINE, _LOW = ("zero-filled, bicubic", "super-resolved"), ("zero-filled", "restored")
"""What stands beside the target above, and beside the auxiliary below."""


def build_restored_scene(
    path_mrb: str | Path,
    images: Mapping[str, sitk.Image],
    auxiliary: sitk.Image,
    target: sitk.Image | None = None,
    transform: sitk.Transform | None = None,
    metrics_rows: Sequence[Mapping[str, Any]] = (),
    parameters: Mapping[str, Any] | None = None,
    name: str = "CMF-Net",
) -> Path:
    """Write a run to `path_mrb`; the arguments are those of `add_restored`. Nothing stays in a headless scene.

    Raises:
        InputError, JobError: as `bundle.save_bundle` and `bootstrap.application` say.
    """
    with application() as scene:
        add_restored(scene, images, auxiliary, target, transform, metrics_rows, parameters or {}, name)
        return bundle.save_bundle(scene, path_mrb)


def add_restored(
    scene: Any,
    images: Mapping[str, sitk.Image],
    auxiliary: sitk.Image,
    target: sitk.Image | None,
    transform: sitk.Transform | None,
    metrics_rows: Sequence[Mapping[str, Any]],
    parameters: Mapping[str, Any],
    name: str,
) -> dict[str, Any]:
    """Add all of a run to `scene`, in one folder, and show bicubic | super-resolved | target above zero-filled |
    restored | auxiliary.

    images: volumes by kind (recon.restore). auxiliary: on the fine grid. target: the volume that was measured, None
    for k-space. transform: of the registration, from target to auxiliary points in LPS. parameters: what is written
    on the run's folder, JSON-able. Returns the volume nodes by kind, "auxiliary" and "target".
    """
    volumes = dict(images) | {"auxiliary": auxiliary} | ({} if target is None else {"target": target})
    nodes = {}
    for kind, image in volumes.items():
        nodes[kind] = node_from_image(scene, image, kind.capitalize())
        # All of one contrast in the same window: differences are those of the images.
        show_as(nodes[kind], Display.MR, image if kind == "auxiliary" else volumes.get("target", image))
    listed = list(nodes.values())
    if transform is not None:
        listed.append(node_from_transform(scene, transform, "Auxiliary to target"))
    if metrics_rows:
        listed.append(tables.metrics_table(scene, metrics_rows, "Metrics"))
    hierarchy.move_into(scene, hierarchy.run_folder(scene, name, parameters), listed)
    fine, low = ([nodes[kind] for kind in kinds if kind in nodes] for kinds in (_FINE, _LOW))
    beside = [] if target is None else [nodes["target"]]
    views.show_side_by_side(scene, [*fine, *beside], below=[*low, nodes["auxiliary"]])
    return nodes
