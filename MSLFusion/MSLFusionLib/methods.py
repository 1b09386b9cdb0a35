"""The table of all methods of this extension: what each is for, what it takes, and whether it can run here.

A task is what a method is asked for: "reconstruct" (hybrids between CT and MR from sensor data: MSL), "restore" (a
sharp image of one MR contrast from undersampled k-space of few pixels, with another contrast beside it: CMF-Net), or
"fuse" (two volumes become one). Without torch: the command line and the panel ask for it at once.
"""

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from MSLFusionLib.fusion import registry
from MSLFusionLib.fusion.interface import Method as Fusion
from MSLFusionLib.fusion.interface import Parameter
from MSLFusionLib.io.checkpoints import ModelInfo, list_models

RECONSTRUCT, RESTORE, FUSE = "reconstruct", "restore", "fuse"
MSL, CMF_NET = "msl", "cmf-net"
TASKS = {
    RECONSTRUCT: "Hybrid images between CT and MR from sensor data (mslfusion reconstruct)",
    RESTORE: "One MR contrast, restored and sharpened with another (mslfusion reconstruct --method cmf-net)",
    FUSE: "Two volumes become one (mslfusion fuse --method NAME)",
}
"""What each task is, in the order of the table."""

_TORCH = "PyTorch is not installed (Slicer: its PyTorch extension; elsewhere: pip install torch)"
_WAVELETS = "PyWavelets is not installed (pip install PyWavelets)"


@dataclass(frozen=True)
class Input:
    """One thing that a method takes. role: its name in options and requests. words: what it is. needed: whether the
    method can do without."""

    role: str
    words: str
    needed: bool = True


@dataclass(frozen=True)
class ModelEntry:
    """An installed model of a method. scale: how many times finer its result is, None where it is as fine."""

    name: str
    path: str
    modalities: tuple[str, ...]
    scale: int | None = None


@dataclass(frozen=True)
class Method:
    """One method, as everything that lets people choose shows it.

    name: as typed. title: for people. task: see TASKS. inputs: what it takes. models: those that are installed; the
    method works without where `trained` is false. modalities: which it can take here, a tuple for each combination;
    empty with `any` for any. missing: what must be installed before it can run, sentences without a full stop.
    settings: of a fusion method: name, default, possible (for people), meaning, kind ("number", "whole number" or
    "text"), of numbers low and high, of texts choices (empty for any). colour: the result has colours.
    """

    name: str
    title: str
    task: str
    summary: str
    inputs: tuple[Input, ...]
    trained: bool
    models: tuple[ModelEntry, ...]
    modalities: tuple[tuple[str, ...], ...]
    any: bool
    missing: tuple[str, ...]
    needs: str = ""
    colour: bool = False
    settings: tuple[dict[str, Any], ...] = ()

    @property
    def ready(self) -> bool:
        """Whether all that it needs beside its inputs is there."""
        return not self.missing

    def to_dict(self) -> dict[str, Any]:
        """JSON-able, with `ready`."""
        return {**asdict(self), "ready": self.ready}


_MSL_INPUTS = (
    Input("ct", "a CT volume in HU, or its sinogram; may be absent where there is an MR", needed=False),
    Input("mr", "an MR volume of any grid, or its k-space; may be absent where there is a CT", needed=False),
)
_CMF_INPUTS = (
    Input("target", "the MR contrast to restore: a volume that is measured in simulation, or its k-space"),
    Input("auxiliary", "another MR contrast of the same head, complete, on any grid"),
)
_FUSE_INPUTS = (
    Input("first", "a volume, whose grid the result has"),
    Input("second", "another volume of the same object, on that grid, resampled or registered to it"),
)


def all_methods(models: Sequence[ModelInfo] | None = None) -> list[Method]:
    """Every method, MSL first. models: those to count as installed, None for what `list_models` finds."""
    found = list_models(architecture=None) if models is None else models
    entries: dict[str, list[ModelEntry]] = {}
    for info in found:
        entries.setdefault(str(info.card["architecture"]), []).append(_entry(info))
    return [
        _network(
            MSL,
            "MSL",
            RECONSTRUCT,
            "Joint reconstruction of CT and MR from few views and little k-space, with a dial between the two.",
            _MSL_INPUTS,
            entries.get(MSL, []),
        ),
        _network(
            CMF_NET,
            "CMF-Net",
            RESTORE,
            "Restores an MR contrast from undersampled k-space of few pixels and makes it 2 or 4 times finer, with "
            "the help of another contrast.",
            _CMF_INPUTS,
            entries.get(CMF_NET, []),
        ),
        *(_fusion(method, entries.get(method.name, [])) for method in registry.METHODS.values()),
    ]


def fusion_methods() -> list[dict[str, Any]]:
    """The rows of the table that `mslfusion fuse` offers."""
    return [method.to_dict() for method in all_methods() if method.task == FUSE]


def lines(methods: Sequence[Mapping[str, Any]], settings: bool = False) -> list[str]:
    """Methods (`Method.to_dict`) as text, under a heading for each task; settings: with those of fusion methods."""
    text: list[str] = []
    for task, heading in TASKS.items():
        rows = [method for method in methods if method["task"] == task]
        if rows:
            text += ["", heading + ":"] if text else [heading + ":"]
        for method in rows:
            text.append(f"  {method['name']:<10} {method['summary']}")
            if not method["any"]:
                text.append(f"{'':<13}Takes {_inputs(method)}.")
            if method["models"]:
                text.append(f"{'':<13}Models: {', '.join(one['name'] for one in method['models'])}.")
            if method["missing"]:
                text.append(f"{'':<13}NOT READY: {'; '.join(method['missing'])}.")
            if settings:
                text += [
                    f"{'':<13}{one['name']}={one['default']}  {one['meaning']} ({one['possible']})"
                    for one in method["settings"]
                ]
    return text


def _inputs(method: Mapping[str, Any]) -> str:
    """What the method takes, as one phrase."""
    task, pairs = method["task"], ["+".join(pair).upper() for pair in method["modalities"]]
    known = f" (here: {', '.join(pairs)})" if pairs else ""
    if task == FUSE:
        return f"two volumes{known or ' (none here)'}"
    if task == RECONSTRUCT:
        return f"a CT and an MR{known}, one of which may be absent: volumes, or measured data"
    contrasts = ", ".join(
        f"{one['modalities'][1].upper()} with {one['modalities'][0].upper()} x{one['scale']}"
        for one in method["models"]
        if len(one["modalities"]) == 2
    )
    return "the target contrast, a volume or k-space, and an auxiliary contrast" + (
        f" (here: {contrasts})" if contrasts else ""
    )


def _entry(info: ModelInfo) -> ModelEntry:
    scale = info.card.get("scale")
    modalities = tuple(str(name) for name in info.card["modalities"])
    return ModelEntry(info.name, str(info.path), modalities, scale if isinstance(scale, int) else None)


def _network(
    name: str, title: str, task: str, summary: str, inputs: tuple[Input, ...], models: Sequence[ModelEntry]
) -> Method:
    """A method that is one of our networks."""
    missing = [] if importlib.util.find_spec("torch") else [_TORCH]
    if not models:
        missing.append(f"no {title} model is installed (put one into a folder named in MSLFUSION_MODELS)")
    pairs = tuple(dict.fromkeys(one.modalities for one in models))
    return Method(name, title, task, summary, inputs, True, tuple(models), pairs, False, tuple(missing))


def _setting(parameter: Parameter) -> dict[str, Any]:
    """A setting for people and for panels."""
    row = {
        "name": parameter.name,
        "default": parameter.default,
        "possible": parameter.span,
        "meaning": parameter.meaning,
    }
    if isinstance(parameter.default, str):
        return row | {"kind": "text", "choices": list(parameter.choices)}
    kind = "whole number" if isinstance(parameter.default, int) else "number"
    return row | {"kind": kind, "low": parameter.low, "high": parameter.high}


def _fusion(method: Fusion, models: Sequence[ModelEntry]) -> Method:
    """A fusion method; what it needs is said by its `needs`."""
    settings = tuple(map(_setting, method.parameters))
    if method.needs == registry.MODEL:
        row = _network(method.name, method.title, FUSE, method.summary, _FUSE_INPUTS, models)
        return replace(row, needs=method.needs, colour=method.colour, settings=settings)
    there = method.needs != registry.PYWAVELETS or importlib.util.find_spec("pywt") is not None
    return Method(
        method.name,
        method.title,
        FUSE,
        method.summary,
        _FUSE_INPUTS,
        False,
        (),
        method.modalities,
        not method.modalities,
        () if there else (_WAVELETS,),
        method.needs,
        method.colour,
        settings,
    )
