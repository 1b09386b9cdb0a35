"""One run as a scene: volumes, painted lambda, sweep, transform, metrics and plots, ready to look at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import SimpleITK as sitk

from MSLFusionLib.scene import bundle, hierarchy, tables, views
from MSLFusionLib.scene.bootstrap import application
from MSLFusionLib.scene.colors import Display, add_lambda_legend, show_as, show_as_trust
from MSLFusionLib.scene.segmentations import PaintedSegment, segmentation_from_masks
from MSLFusionLib.scene.sequences import LambdaSweep
from MSLFusionLib.scene.transforms import node_from_transform
from MSLFusionLib.scene.volumes import node_from_image


class Painted(NamedTuple):
    """Painted lambda and what came of it.

    segments: (mask on the CT's grid, lambda, feather mm[, name]) in painting order.
    hybrid: the volume in [0, 1].
    lambda_map: the feathered map in [0, 1] on the CT's grid, where it shall be kept as well.
    """

    segments: Sequence[PaintedSegment | tuple[sitk.Image, float, float]]
    hybrid: sitk.Image
    lambda_map: sitk.Image | None = None


@dataclass
class RunNodes:
    """The nodes of one run in a scene; `folder` is its subject hierarchy item."""

    ct: Any
    mr: Any
    folder: int
    sweep: LambdaSweep | None = None
    segmentation: Any = None
    painted_hybrid: Any = None
    lambda_map: Any = None
    transform: Any = None
    sensors: dict[str, Any] = field(default_factory=dict)
    trust: dict[str, Any] = field(default_factory=dict)
    table: Any = None
    charts: list[Any] = field(default_factory=list)

    def listed(self) -> list[Any]:
        """The nodes for the run's folder, in this order.

        The sweep is listed by its proxy volume: Slicer's hierarchy has no place for sequences and browsers.
        """
        proxy = self.sweep.proxy if self.sweep is not None else None
        single = [self.ct, self.mr, proxy, self.painted_hybrid, self.segmentation, self.lambda_map, self.transform]
        series = [one for chart in self.charts for one in tables.series_of(chart)]
        nodes = [*single, *self.sensors.values(), *self.trust.values(), self.table, *self.charts, *series]
        return [node for node in nodes if node is not None]


def build_run_scene(
    path_mrb: str | Path,
    ct: sitk.Image,
    mr_registered: sitk.Image,
    hybrids: Sequence[tuple[float, sitk.Image]] = (),
    painted: Painted | None = None,
    transform: sitk.Transform | None = None,
    sensor_images: Mapping[str, sitk.Image] | None = None,
    metrics_rows: Sequence[Mapping[str, Any]] = (),
    parameters: Mapping[str, Any] | None = None,
    name: str = "MSL Fusion run",
    trust_maps: Mapping[str, sitk.Image] | None = None,
    synthesised: Sequence[str] = (),
) -> Path:
    """Write a run to `path_mrb`; the arguments are those of `add_run`. Nothing stays in a headless scene.

    Inside the Slicer application the run is added to the application's scene, which is saved whole.

    Raises:
        InputError, JobError: as `bundle.save_bundle` and `bootstrap.application` say.
    """
    with application() as scene:
        add_run(
            scene,
            ct,
            mr_registered,
            hybrids,
            painted,
            transform,
            sensor_images or {},
            metrics_rows,
            parameters or {},
            name,
            trust_maps or {},
            synthesised,
        )
        return bundle.save_bundle(scene, path_mrb)


def add_run(
    scene: Any,
    ct: sitk.Image,
    mr_registered: sitk.Image,
    hybrids: Sequence[tuple[float, sitk.Image]],
    painted: Painted | None,
    transform: sitk.Transform | None,
    sensor_images: Mapping[str, sitk.Image],
    metrics_rows: Sequence[Mapping[str, Any]],
    parameters: Mapping[str, Any],
    name: str,
    trust_maps: Mapping[str, sitk.Image] | None = None,
    synthesised: Sequence[str] = (),
) -> RunNodes:
    """Add all of a run to `scene`, in one folder, and show CT | MR | hybrid side by side.

    ct: in HU. mr_registered: on the CT's grid, in any scale. hybrids: (lambda, volume in [0, 1]), all on
    the CT's grid. transform: from CT to MR points in LPS, as `registration.register` gives it.
    sensor_images: name -> volume in [0, 1] (sparse-view FBP, zero-filled MR). metrics_rows: one mapping
    per lambda with the key "lambda"; columns "<metric>_<target>" become plots. parameters: what is written
    on the run's folder, JSON-able. trust_maps: by kind ("uncertainty-ct", ...). synthesised: modalities ("ct", "mr")
    that were not measured, which names tell.
    """
    ct_node = node_from_image(scene, ct, "CT")
    show_as(ct_node, Display.CT)
    mr_node = node_from_image(scene, mr_registered, "MR on CT grid")
    show_as(mr_node, Display.MR, mr_registered)
    nodes = RunNodes(ct_node, mr_node, hierarchy.run_folder(scene, name, parameters))
    if hybrids:
        guess = "".join(f" ({one.upper()} synthesised)" for one in synthesised)
        nodes.sweep = LambdaSweep(scene, f"Hybrid{guess}")
        nodes.sweep.add_all(sorted(hybrids, key=lambda pair: pair[0]))
        nodes.sweep.select(0.5)
    if painted is not None:
        _add_painted(scene, nodes, painted)
    if transform is not None:
        nodes.transform = node_from_transform(scene, transform, "MR to CT")
    for sensor_name, image in sensor_images.items():
        nodes.sensors[sensor_name] = node_from_image(scene, image, sensor_name)
        show_as(nodes.sensors[sensor_name], Display.UNIT)
    for kind, image in (trust_maps or {}).items():
        what, modality = kind.split("-")
        guess = " (synthesised)" if modality in synthesised else ""
        nodes.trust[kind] = node_from_image(scene, image, f"{what.capitalize()} {modality.upper()}{guess}")
        show_as_trust(nodes.trust[kind], sitk.GetArrayViewFromImage(image))
    if metrics_rows:
        nodes.table = tables.metrics_table(scene, metrics_rows, "Metrics")
        nodes.charts = tables.plots_over_lambda(scene, nodes.table, "Metrics")
    hierarchy.move_into(scene, nodes.folder, nodes.listed())
    hybrid = nodes.sweep.proxy if nodes.sweep is not None else nodes.painted_hybrid
    shown = [ct_node, mr_node] + ([hybrid] if hybrid is not None else [])
    views.show_side_by_side(scene, shown, nodes.charts)
    return nodes


def _add_painted(scene: Any, nodes: RunNodes, painted: Painted) -> None:
    nodes.painted_hybrid = node_from_image(scene, painted.hybrid, "Painted hybrid")
    show_as(nodes.painted_hybrid, Display.UNIT)
    nodes.segmentation = segmentation_from_masks(scene, "Painted lambda", painted.segments, nodes.ct)
    if painted.lambda_map is not None:
        nodes.lambda_map = node_from_image(scene, painted.lambda_map, "Lambda map")
        show_as(nodes.lambda_map, Display.LAMBDA)
        add_lambda_legend(nodes.lambda_map).SetVisibility(False)
