"""The page that shows fusion methods side by side on the same two images, with all measures of each."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from MSLFusionLib import __version__
from MSLFusionLib.fusion.metrics import COPYING, METRICS
from MSLFusionLib.fusion.prepare import Prepared
from MSLFusionLib.fusion.run import Fused
from MSLFusionLib.report import page
from MSLFusionLib.report.data import Viewer, focus_of

_COLUMNS = 4
_ZOOM = 0.36
_PLANES = ((2, "axial"), (1, "coronal"), (0, "sagittal"))


def write_fusion_report(
    path: Path,
    prepared: Prepared,
    results: Sequence[Fused],
    rows: Sequence[Mapping[str, Any]],
    record: Mapping[str, Any],
) -> None:
    """Write the page to `path`; it refers to nothing outside itself.

    rows: as fusion.run.measure gives them. record: the content of run.json.
    """
    first, second = prepared.pair.modalities
    pictures = fusion_figures(prepared, results)
    body = []
    for name, caption in _captions(prepared).items():
        body.append(page.section(caption[0], page.picture(pictures[name], caption[1])))
    body.append(
        page.section(
            "Ten measures", page.paragraph(COPYING), _table(rows), page.words({m.name: _meaning(m) for m in METRICS})
        )
    )
    chosen = {one.method.title: _settings(one) or "no settings" for one in results}
    body.append(
        page.section("How it was made", page.words(chosen), page.inputs(record), page.words(_provenance(record)))
    )
    title = f"Fusion of {first.upper()} and {second.upper()}"
    subtitle = " x ".join(map(str, prepared.geometry.size)) + " voxels of "
    subtitle += " x ".join(f"{mm:.3g}" for mm in prepared.geometry.spacing) + " mm"
    foot = f"MSLFusion {__version__}. For research, not for diagnosis."
    path.write_text(page.page(title, subtitle, "\n".join(body), foot), encoding="utf-8")


def fusion_figures(prepared: Prepared, results: Sequence[Fused]) -> dict[str, bytes]:
    """PNG pictures by name: "axial", "coronal", "sagittal", all images side by side, and "detail", the middle of the
    slices, enlarged."""
    from MSLFusionLib.report import figures

    geometry, pair = prepared.geometry, prepared.pair
    body = pair.body if pair.body is not None else np.ones(pair.first.shape, bool)
    grid = geometry.image(body.astype(np.uint8))
    view = Viewer(grid, prepared.slice_axis, focus_of(grid))
    names = [f"first ({pair.modalities[0].upper()})", f"second ({pair.modalities[1].upper()})"]
    names += [one.method.title for one in results]
    arrays = [pair.first, pair.second, *(one.image for one in results)]
    volumes = [[geometry.image(part) for part in _channels(array)] for array in arrays]

    def sheet(axis: int, zoom: bool) -> bytes:
        extent = view.extent(axis)
        panels = []
        for name, parts in zip(names, volumes, strict=True):
            picture = _picture([view.cut(part, axis=axis) for part in parts])
            if zoom:
                picture = _middle(picture)
            width, height = (length * (_ZOOM if zoom else 1.0) for length in extent)
            panels.append(figures.Panel(name, picture, (width, height)))
        return figures.panel_row(panels, columns=_COLUMNS)

    drawn = {name: sheet(axis, False) for axis, name in _PLANES}
    return {"detail": sheet(view.axis, True), **drawn}


def _captions(prepared: Prepared) -> dict[str, tuple[str, str]]:
    """Heading and caption of each picture, in the order of the page."""
    order = {
        0: ("axial", "coronal", "sagittal"),
        1: ("coronal", "axial", "sagittal"),
        2: ("sagittal", "coronal", "axial"),
    }
    first, *others = order[prepared.slice_axis]
    grey = "All images are in [0, 1], black to white; nothing is brightened."
    return {
        first: ("Side by side", f"The same {first} slice of both sources and of every result. {grey}"),
        "detail": ("Closer", "The middle of such a slice, enlarged: which edges of which source are kept."),
        **{name: (f"{name.capitalize()} plane", f"The {name} plane through the same point.") for name in others},
    }


def _channels(array: np.ndarray) -> list[np.ndarray]:
    return [array] if array.ndim == 3 else [np.ascontiguousarray(array[..., channel]) for channel in range(3)]


def _picture(parts: Sequence[np.ndarray]) -> np.ndarray:
    return parts[0] if len(parts) == 1 else np.clip(np.stack(parts, axis=-1), 0.0, 1.0)


def _middle(picture: np.ndarray) -> np.ndarray:
    sides = [max(2, round(n * _ZOOM)) for n in picture.shape[:2]]
    starts = [(n - side) // 2 for n, side in zip(picture.shape[:2], sides, strict=True)]
    return picture[starts[0] : starts[0] + sides[0], starts[1] : starts[1] + sides[1]]


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    head = ["image", *(metric.name for metric in METRICS)]
    body = [
        [page.text(row["image"]), *("–" if row[m.key] is None else f"{row[m.key]:.3f}" for m in METRICS)]
        for row in rows
    ]
    return page.table(head, body)


def _meaning(metric: Any) -> str:
    return metric.meaning if metric.in_3d == "3-D" else f"{metric.meaning} ({metric.in_3d})"


def _settings(one: Fused) -> dict[str, Any]:
    """The settings of a method; a model by the name of its file, which stands among the inputs."""
    return {key: Path(value).name if key == "model" else value for key, value in one.settings.items() if value != ""}


def _provenance(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a reader needs to make the same again."""
    parameters = dict(record.get("parameters", {}))
    return {
        "scales": parameters.get("scales"),
        "grids": parameters.get("grids"),
        "slices": "each for itself (2-D)" if parameters.get("slicewise") else "as one volume (3-D)",
        "versions": record.get("versions"),
        "warnings": record.get("warnings"),
    }
