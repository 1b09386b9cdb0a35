"""The report's story: which pictures and tables stand on the page, in which order, and what they say."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from MSLFusionLib import __version__
from MSLFusionLib.report import page, trust
from MSLFusionLib.report.data import ReportData, Viewer
from MSLFusionLib.sensor_names import ENDS, FBP, TV, ZERO_FILLED

_VIEWER_SLICES = 11
_BONE = (300 + 1000) / 3125
"""HU 300 in network units."""

_CONSISTENT = (
    "The network's CT and MR were corrected towards what was measured, with weights from the noise, and hybrids took "
    "these two changes in proportion to lambda (data consistency)."
)
_NOT_CONSISTENT = (
    "These are the network's own images: they were not corrected towards what was measured (data consistency is off)."
)
_CONVENTIONS = (
    "Pictures show values from 0 (black) to 1 (white) unless a colour bar says otherwise.",
    "Lambda is the dial: 0 asks the network for CT, 1 for MR, values between for a hybrid. One encoding of the "
    "sensor images serves all lambdas.",
    "All figures compare images in [0, 1] on the CT's grid, within the body mask. CT: attenuation between HU -1000 "
    "and 2125, scaled linearly. MR: scaled by percentiles of the body.",
    "The reference images are the ones the sensors were simulated from: the CT, and the MR after registration. "
    "Errors of the registration are therefore not part of these figures.",
    "MAE is the mean absolute difference; PSNR has 1 as its peak; SSIM uses a Gaussian window of sigma 1.5 pixels "
    "within slices, K1 0.01, K2 0.03, data range 1; MI uses 256 bins for each image over [0, 1] and the natural "
    "logarithm.",
    "Hybrids are not meant to match either reference: their distance to the CT grows with lambda as their distance "
    "to the MR shrinks.",
)


def write_report(path: Path, data: ReportData) -> None:
    """Write the page to `path`. It refers to nothing outside itself."""
    pictures = _Pictures(data)
    record = data.record
    body = [page.facts(_facts(data)), *(page.warning(sentence) for sentence in trust.warnings(record))]
    body += _dial(data, pictures.view)
    shown = pictures.captions()

    def pic(name: str) -> str:
        return page.picture(pictures.draw(name), shown[name]) if name in shown else ""

    body.append(page.section("The dial", pic("lambda"), pic("planes")))
    if "map" in shown:
        body.append(page.section("A painted lambda", pic("map")))
    body.append(page.section("What the network was given", pic("measured"), pic("sensors")))
    if "registration" in shown:
        body.append(page.section("Registration", page.words(_registration(record)), pic("registration")))
    if data.metrics:
        figures = page.picture(pictures.draw("metrics"), shown["metrics"], pictures.draw("metrics", "dark"))
        body.append(page.section("How near to CT and MR", figures, _metric_table(data.metrics)))
    if "differences" in shown:
        body.append(page.section("Where it is wrong", pic("differences")))
    body += trust.section(record, pic("trust"))
    notes = (*data.notes, *_consistency(record), *_CONVENTIONS)
    body.append(page.section("How to read this", *(page.paragraph(note) for note in notes)))
    body += _provenance(data)
    subtitle = "  ·  ".join(str(part) for part in _origin(record) if part)
    foot = f"MSLFusion {__version__}. For research, not for diagnosis."
    path.write_text(page.page(data.title, subtitle, "\n".join(body), foot), encoding="utf-8")


def figures_of(data: ReportData) -> dict[str, bytes]:
    """The report's pictures as PNG, by name: those of `write_report`, plots in their light version."""
    pictures = _Pictures(data)
    return {name: pictures.draw(name) for name in pictures.captions()}


class _Pictures:
    """Draws each figure of the report by its name."""

    def __init__(self, data: ReportData) -> None:
        self.data = data
        first = next(iter(data.hybrids.values()), data.hybrid_map)
        if first is None:
            raise ValueError("a report needs at least one hybrid volume")
        self.view = Viewer(first, data.slice_axis, data.focus)
        self.extent = self.view.extent()

    def captions(self) -> dict[str, str]:
        """The figures that this run's data allow, with what stands below each."""
        data, where = self.data, f"{self.view.plane_name} slice {self.view.position}"
        captions: dict[str, str] = {}
        if data.hybrids:
            captions["lambda"] = f"Reconstructions of {where} from the same measurement, from CT (left) to MR (right)."
            captions["planes"] = "One hybrid in three planes; the lines between slices are real, nothing is smoothed."
        if data.hybrid_map is not None and data.lambda_map is not None:
            captions["map"] = (
                "Left: lambda as painted, orange where the CT is asked for, blue where the MR is. Right: the "
                "hybrid that follows it from place to place."
            )
        if data.sinogram is not None or data.kspace is not None:
            captions["measured"] = (
                "The raw measurement of this slice: line integrals of the fan beam, and the logarithm of the "
                "k-space magnitude, black where nothing was measured."
            )
        ct_image = TV if TV in data.sensor_images else "filtered back-projection"
        captions["sensors"] = (
            f"What the sensors were simulated from, where they were, and what they give without a network, {where}: "
            f"{ct_image} for the CT, the zero-filled inverse Fourier transform for the MR."
        )
        if data.mr_unregistered is not None and data.mr is not None and data.ct is not None:
            captions["registration"] = (
                "CT and MR in the fields of a checkerboard, as the files place them and registered: edges must run "
                "on from field to field. The CT's bone (HU 300) must lie where the MR is dark."
            )
        if data.metrics:
            captions["metrics"] = (
                f"Against CT (orange) and MR (blue) over lambda. Dashed: {ct_image} against CT, and "
                "the zero-filled image against MR."
            )
        if self._difference_panels():
            captions["differences"] = (
                "Reconstruction minus reference on one scale: blue is too dark, orange too bright."
            )
        if trust.shown(data):
            captions["trust"] = trust.caption(data, where)
        return captions

    def draw(self, name: str, theme: str = "light") -> bytes:
        """PNG of the figure `name`."""
        from MSLFusionLib.report import figures

        if name == "metrics":
            return figures.metric_plots(self.data.metrics, theme)
        if name == "differences":
            return figures.panel_row(self._difference_panels(), bar="difference")
        return getattr(self, f"_draw_{name}")(figures)

    def _panel(self, figures: Any, title: str, volume: sitk.Image, **options: Any) -> Any:
        return figures.Panel(title, self.view.cut(volume), self.extent, **options)

    def _draw_lambda(self, figures: Any) -> bytes:
        guessed = trust.synthesised(self.data.record)
        panels = [
            self._panel(figures, _lambda_name(lam, guessed), volume)
            for lam, volume in sorted(self.data.hybrids.items())
        ]
        return figures.panel_row(panels, columns=5)

    def _draw_planes(self, figures: Any) -> bytes:
        lam, volume = min(self.data.hybrids.items(), key=lambda item: abs(item[0] - 0.5))
        panels = [
            figures.Panel(f"{name}, {_lambda_name(lam)}", self.view.cut(volume, axis=axis), self.view.extent(axis))
            for axis, name in ((2, "axial"), (1, "coronal"), (0, "sagittal"))
        ]
        return figures.panel_row(panels)

    def _draw_map(self, figures: Any) -> bytes:
        data = self.data
        assert data.hybrid_map is not None
        assert data.lambda_map is not None
        paint = self.view.cut(data.lambda_map)
        under = data.ct or data.mr or data.hybrid_map
        over = figures.painted_over(self.view.cut(under), paint)
        panels = [
            figures.Panel("painted lambda", over, self.extent),
            figures.Panel("lambda map", paint, self.extent, colours=figures.LAMBDA),
            self._panel(figures, "hybrid with this map", data.hybrid_map),
        ]
        return figures.panel_row(panels, bar="lambda")

    def _draw_measured(self, figures: Any) -> bytes:
        panels = []
        square = (1.0, 0.75)
        if self.data.sinogram is not None:
            views, bins = self.data.sinogram.shape
            top = float(self.data.sinogram.max()) or 1.0
            note = f"{views} views down, {bins} detector bins across"
            panels.append(figures.Panel("sinogram", self.data.sinogram, square, high=top, note=note, stretch=True))
        if self.data.kspace is not None:
            magnitude = np.abs(self.data.kspace)
            log = np.log10(np.maximum(magnitude, magnitude.max() * 1e-4))
            log = np.where(magnitude > 0, log, log.min())
            note = "kx across (undersampled), ky down"
            panels.append(
                figures.Panel(
                    "k-space, log magnitude", log, square, low=float(log.min()), high=float(log.max()), note=note,
                    stretch=True,
                )
            )  # fmt: skip
        return figures.panel_row(panels)

    def _draw_sensors(self, figures: Any) -> bytes:
        data = self.data
        volumes = (("CT", data.ct), *data.sensor_images.items(), ("MR, registered", data.mr))
        order = {"CT": 0, FBP: 1, TV: 1, ZERO_FILLED: 2, "MR, registered": 3}
        panels = [
            self._panel(figures, title, volume)
            for title, volume in sorted(volumes, key=lambda item: order.get(item[0], 4))
            if volume is not None
        ]
        return figures.panel_row(panels)

    def _draw_registration(self, figures: Any) -> bytes:
        data = self.data
        assert data.ct is not None
        ct = self.view.cut(data.ct)
        cuts = [
            (title, self.view.cut(volume))
            for title, volume in (("as the files place them", data.mr_unregistered), ("registered", data.mr))
            if volume is not None
        ]
        boards = [figures.Panel(title, figures.checkerboard(ct, mr), self.extent) for title, mr in cuts]
        bones = [
            figures.Panel(f"MR {title}, bone of CT", mr, self.extent, outline=ct, outline_level=_BONE)
            for title, mr in cuts
        ]
        return figures.panel_row([*boards, *bones])

    def _draw_trust(self, figures: Any) -> bytes:
        rows = trust.shown(self.data)
        cuts = {key: self.view.cut(volume) for row in rows for key, _, volume in row}
        high = trust.scale([cuts[key] for row in rows for key, _, _ in row if key in self.data.trust_maps])
        panels = []
        for row in rows:
            for key, title, _ in row:
                options = {"high": high, "colours": "magma"} if key in self.data.trust_maps else {}
                panels.append(figures.Panel(title, cuts[key], self.extent, **options))
        return figures.panel_row(panels, bar="in units of the image", columns=max(len(row) for row in rows))

    def _difference_panels(self) -> list[Any]:
        from MSLFusionLib.report import figures

        data, hybrids = self.data, self.data.hybrids
        plain = TV if TV in data.sensor_images else FBP
        pairs = (
            (f"{plain} − CT", data.sensor_images.get(plain), data.ct),
            ("lambda 0 − CT", hybrids.get(0.0), data.ct),
            ("zero-filled − MR", data.sensor_images.get(ZERO_FILLED), data.mr),
            ("lambda 1 − MR", hybrids.get(1.0), data.mr),
        )
        return [
            figures.Panel(
                title, self.view.cut(image) - self.view.cut(reference), self.extent, -0.2, 0.2, figures.SIGNED
            )
            for title, image, reference in pairs
            if image is not None and reference is not None
        ]


def _dial(data: ReportData, view: Viewer) -> list[str]:
    """The picture with sliders, where there is more than one lambda."""
    volumes = sorted(data.hybrids.items())
    if len(volumes) < 2:
        return []
    positions = view.positions(_VIEWER_SLICES)
    strips = [np.concatenate([view.cut(volume, at) for _, volume in volumes], axis=1) for at in positions]
    width, height = view.extent()
    return [page.viewer(strips, [f"{lam:g}" for lam, _ in volumes], positions, view.position, width / height)]


def _lambda_name(lam: float, synthesised: Sequence[str] = ()) -> str:
    side = {0.0: "CT", 1.0: "MR"}.get(lam, "")
    guess = ", synthesised" if side.lower() in synthesised else ""
    return f"lambda {lam:g}" + (f" ({side}{guess})" if side else "")


def _registration(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a reader wants to know of the registration."""
    found = record.get("details", {}).get("registration", {})
    names = {
        "motion": "method",
        "settings": "preset",
        "started from": "start",
        "turn [degrees]": "turn_degrees",
        "shift at the origin [mm]": "shift_mm",
        "mutual information before [nats]": "start_metric_nats",
        "mutual information after [nats]": "metric_nats",
        "share of the smaller body inside the other": "overlap",
        "true error, mean [mm]": "true_error_mean_mm",
        "true error, largest [mm]": "true_error_max_mm",
        "look at it": "warnings",
    }
    return {name: found[key] for name, key in names.items() if key in found}


def _facts(data: ReportData) -> list[tuple[str, str]]:
    """The headline: sampling and what the network made of it."""
    record = data.record
    sampling = record.get("sampling", {})
    items = []
    if "ct" in sampling:
        items.append((f"{sampling['ct']['views']}", f"CT views, {sampling['ct']['scan']} scan"))
    if "mr" in sampling:
        items.append((f"{100 * sampling['mr']['rate']:.1f} %", f"of k-space (1/{sampling['mr']['acceleration']:.2f})"))
    for target, lam, plain in ENDS:
        ours = next((row for row in data.metrics if row["lambda"] == lam), {})
        theirs = next((row for row in data.metrics if row["image"] in plain), {})
        for key, unit, how in (("psnr", " dB", ".1f"), ("ssim", "", ".3f")):
            value, other = ours.get(f"{key}_{target}"), theirs.get(f"{key}_{target}")
            if value is not None:
                beside = "" if other is None else f" ({theirs['image']} {other:{how}})"
                items.append((f"{value:{how}}{unit}", f"{target.upper()} {key.upper()}{beside}"))
    seconds = record.get("times_seconds", {}).get("total")
    if seconds:
        items.append((f"{seconds:.0f} s", "for the whole run"))
    return items


def _metric_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """MAE, PSNR, SSIM and MI of each image against each reference."""
    formats = (("mae", "MAE", ".4f"), ("psnr", "PSNR [dB]", ".2f"), ("ssim", "SSIM", ".4f"), ("mi", "MI [nats]", ".3f"))
    head = ["image", *(name for _, name, _ in formats), *(name for _, name, _ in formats)]
    body = []
    for row in rows:
        cells = [page.text(row["image"])]
        for side in ("ct", "mr"):
            values = ((row.get(f"{key}_{side}"), how) for key, _, how in formats)
            cells += ["–" if v is None else f'<span class="{side}">{v:{how}}</span>' for v, how in values]
        body.append(cells)
    return page.table(head, body, (("", 1), ("against CT", len(formats)), ("against MR", len(formats))))


def _consistency(record: Mapping[str, Any]) -> tuple[str, ...]:
    """Whether the images follow the measurement, where the record tells."""
    wanted = record.get("details", {}).get("reconstruction", {}).get("consistency")
    return () if wanted is None else (_CONSISTENT if wanted else _NOT_CONSISTENT,)


def _origin(record: Mapping[str, Any]) -> list[Any]:
    started = str(record.get("started", "")).replace("T", " ").replace("+00:00", " UTC")
    return [started, f"mslfusion {record.get('command', '')}", record.get("device")]


def _provenance(data: ReportData) -> list[str]:
    """Inputs, settings, model, times and versions: enough to run it again."""
    record = data.record
    times = {stage: f"{seconds:.1f} s" for stage, seconds in record.get("times_seconds", {}).items()}
    parts = [
        page.section("Inputs and settings", page.inputs(record), page.words(record.get("parameters", {}))),
        page.section("Sampling achieved", page.words(record.get("sampling", {}))),
    ]
    if data.model_card:
        card = {key: value for key, value in data.model_card.items() if key != "config"}
        parts.append(page.section("The model", page.words(card)))
    parts.append(page.section("Times and versions", page.words(times), page.words(record.get("versions", {}))))
    return parts
