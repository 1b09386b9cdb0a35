"""The .ui files: what Slicer can load, every parameter at its widget, tooltips, buddies, keyboard."""

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from enum import Enum
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from opened import ROOT, Opened
from PySide6 import QtCore, QtWidgets
from standins.slicer_panel.ui_files import check_ui
from training_opened import OpenedTraining, use_fakes
from turns import settle

TRAINING_FILE = ROOT / "MSLFusionTraining" / "Resources" / "UI" / "MSLFusionTraining.ui"
FILE = ROOT / "MSLFusion" / "Resources" / "UI" / "MSLFusion.ui"
FILES = {"MSLFusion": FILE, "MSLFusionTraining": TRAINING_FILE}
TREES = {name: ET.parse(path).getroot() for name, path in FILES.items()}
ALL = {name: {one.get("name") or "": one for one in tree.iter("widget")} for name, tree in TREES.items()}
BY_HAND = {
    "MSLFusion": {
        "sensors.file": "sensorsFilePath",
        "sensors.sinogram": "sinogramPath",
        "sensors.kspace": "kspacePath",
        "model.name": "modelSelector",
        "model.folder": "modelFolderPath",
        "model.device": "deviceSelector",
        "fusion.method": "fusionMethodSelector",
        "fusion.settings": "fusionSettingsFrame",
        "fusion.model": "fusionModelSelector",
        "fusion.shown": "fusedSelector",
        "restore.kspace": "restoreKspacePath",
        "restore.model": "restoreModelSelector",
        "restore.shown": "restoredSelector",
    },
    "MSLFusionTraining": {
        "data.modalities": "modalitiesSelector",
        "data.folder": "scansFolderPath",
        "data.table": "scansTablePath",
        "data.pairs": "pairsTable",
        "data.output": "outputPath",
        "data.set": "setPath",
        "configuration.preset": "presetSelector",
        "configuration.changes": "settingsTable",
        "configuration.device": "deviceSelector",
        "run.folder": "runFolderPath",
        "run.model": "modelNameLineEdit",
    },
}
"""What a path widget or a list that is filled while the panel is used holds: its section keeps both in step."""
PASSIVE = {"QLabel", "QWidget", "qMRMLWidget", "QProgressBar", "ctkCollapsibleButton", "ctkCollapsibleGroupBox"}


def properties(widget: ET.Element) -> dict[str, str]:
    return {one.get("name") or "": "".join(one.itertext()).strip() for one in widget.findall("property")}


def bound(module: str) -> dict[str, str]:
    """Parameter -> widget, as the .ui has it."""
    found = {}
    for name, widget in ALL[module].items():
        parameter = properties(widget).get("SlicerParameterName")
        if parameter:
            assert parameter not in found, f"{parameter} is at two widgets"
            found[parameter] = str(name)
    return found


@pytest.fixture(params=list(FILES))
def module(request: pytest.FixtureRequest) -> str:
    """The name of a module with a panel."""
    return str(request.param)


@pytest.fixture
def opened(module: str, slicer_app: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The panel of that module."""
    use_fakes(monkeypatch)
    panel = Opened() if module == "MSLFusion" else OpenedTraining()
    yield panel
    panel.close()


def leaves(parameters: Any) -> list[str]:
    """All parameters: pack.name."""
    return [f"{pack}.{name}" for pack in parameters.allParameters for name in getattr(parameters, pack).allParameters]


@pytest.mark.parametrize("file", FILES.values(), ids=list(FILES))
def test_slicer_has_all_classes_and_properties(file: Path) -> None:
    assert check_ui(file) == []


def test_names_are_there_once(module: str) -> None:
    names = [one.get("name") for tag in ("widget", "layout", "spacer") for one in TREES[module].iter(tag)]
    assert len(names) == len(set(names))


def test_every_parameter_has_its_widget(module: str, opened: Any) -> None:
    wanted = set(leaves(opened.parameters))
    assert len(wanted) > 20
    assert set(bound(module)) | set(BY_HAND[module]) == wanted
    assert not set(bound(module)) & set(BY_HAND[module])
    assert set(BY_HAND[module].values()) <= set(ALL[module])


def other(value: Any) -> Any:
    """A value of the same kind that is not this one, on the steps of every widget."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, Enum):
        kinds = list(type(value))
        return kinds[(kinds.index(value) + 1) % len(kinds)]
    if isinstance(value, str):
        return f"{value} other"
    if isinstance(value, int):
        return value + 1
    return value * 0.5 if value > 1 else 0.25 if value != 0.25 else 0.75


def test_parameter_and_widget_follow_one_another(module: str, opened: Any, scene: Any) -> None:
    nodes = {f"{pack}.{name}" for pack, name in opened.panel.NODES}
    assert nodes <= set(bound(module))
    for parameter, name in bound(module).items():
        pack, _dot, field = parameter.partition(".")
        widget = getattr(opened.ui, name)
        before = getattr(getattr(opened.parameters, pack), field)
        if parameter in nodes:
            node = scene.AddNewNodeByClass(widget.nodeTypes[0], field)
            setattr(getattr(opened.parameters, pack), field, node)
            assert widget.currentNode() is node, parameter
            widget.setCurrentNode(None)
            assert getattr(getattr(opened.parameters, pack), field) is None, parameter
            continue
        changed = other(before)
        setattr(getattr(opened.parameters, pack), field, changed)
        assert shown(widget, before) == shown_as(changed), parameter
        put(widget, before)
        now = getattr(getattr(opened.parameters, pack), field)
        assert now == before if isinstance(before, Enum | str) else now == pytest.approx(before), parameter
    settle()


def shown(widget: Any, kind: Any) -> Any:
    if isinstance(kind, bool):
        return widget.checked
    if isinstance(kind, str):
        return widget.text
    return widget.currentIndex if isinstance(kind, Enum) else widget.value


def shown_as(value: Any) -> Any:
    if isinstance(value, str):
        return value
    return list(type(value)).index(value) if isinstance(value, Enum) else pytest.approx(value)


def put(widget: Any, value: Any) -> None:
    if isinstance(value, bool):
        widget.checked = value
    elif isinstance(value, str):
        widget.text = value
    elif isinstance(value, Enum):
        widget.currentIndex = list(type(value)).index(value)
    else:
        widget.value = value


def test_ranges_of_widgets_are_those_of_the_parameters(module: str, opened: Any) -> None:
    """The connector sets them; the .ui says the same, so that nothing jumps."""
    for name in bound(module).values():
        widget, said = getattr(opened.ui, name), properties(ALL[module][name])
        if "minimum" in said and "maximum" in said:
            assert (widget.minimum, widget.maximum) == (float(said["minimum"]), float(said["maximum"])), name


def test_what_can_be_used_has_a_tooltip(module: str) -> None:
    for name, widget in ALL[module].items():
        if widget.get("class") not in PASSIVE:
            tip = properties(widget).get("toolTip", "")
            assert tip.endswith("."), (name, tip)
            assert tip[0].isupper() or tip[0].isdigit(), (name, tip)


def test_labels_of_fields_have_buddies(module: str) -> None:
    checked = 0
    for form in TREES[module].iter("layout"):
        if form.get("class") not in ("QFormLayout", "QGridLayout"):
            continue
        rows: dict[str, dict[str, ET.Element]] = {}
        for item in form.findall("item"):
            if item.get("colspan") is None:
                rows.setdefault(item.get("row") or "", {})[item.get("column") or ""] = item[0]
        for row in rows.values():
            label, field = row.get("0"), row.get("1")
            if label is None or label.get("class") != "QLabel" or field is None:
                continue
            said = properties(label)
            assert said["text"].endswith(":"), said
            if field.tag == "widget":
                assert said.get("buddy") == field.get("name"), said
                checked += 1
    assert checked > 10


def test_every_label_of_a_sentence_wraps_and_can_be_copied(module: str) -> None:
    sentences = [name for name in ALL[module] if name.endswith(("Message", "Info", "Warning"))]
    assert len(sentences) > 10
    for name in sentences:
        said = properties(ALL[module][name])
        assert said.get("wordWrap") == "true", name
        assert "TextSelectableByMouse" in said.get("textInteractionFlags", ""), name
        assert said.get("text", "") == "", name


def test_enter_presses_apply() -> None:
    assert properties(ALL["MSLFusion"]["applyButton"]).get("autoDefault") == "true"


def show_much(module: str, opened: Any) -> None:
    """Let fields be seen that are not there at the start."""
    if module == "MSLFusion":
        from MSLFusionPanel.parameters import LambdaMode

        opened.load_volumes()
        opened.parameters.lam.mode = LambdaMode.PAINTED
    else:
        from MSLFusionTrainingPanel.parameters import DataSource

        opened.parameters.data.source = DataSource.SCENE


def test_the_keyboard_reaches_everything_from_top_to_bottom(module: str, opened: Any) -> None:
    widgets = ALL[module]
    show_much(module, opened)
    for name, widget in widgets.items():
        if widget.get("class") in ("ctkCollapsibleButton", "ctkCollapsibleGroupBox"):
            getattr(opened.ui, name).collapsed = False
    opened.area.resize(420, 4000)
    settle()
    root = opened.root._q
    named = {getattr(opened.ui, name)._q: name for name in widgets if name != root.objectName()}
    order, widget = [], root.nextInFocusChain()
    while widget is not root:
        owner = widget
        while owner is not None and owner not in named:
            owner = owner.parentWidget()
        takes = widget.focusPolicy() & QtCore.Qt.FocusPolicy.TabFocus and widget.focusProxy() is None
        usable = widget.isVisible() and takes
        if owner is not None and usable and root.isAncestorOf(widget) and named[owner] not in order:
            order.append(named[owner])
        widget = widget.nextInFocusChain()
    passive = {"QLabel", "QWidget", "qMRMLWidget", "QProgressBar"}
    wanted = [
        name
        for name, widget in widgets.items()
        if widget.get("class") not in passive and getattr(opened.ui, name)._q.isVisible()
    ]
    assert set(wanted) <= set(order), set(wanted) - set(order)

    def box(name: str) -> QtCore.QRect:
        widget = getattr(opened.ui, name)._q
        return QtCore.QRect(widget.mapTo(root, QtCore.QPoint(0, 0)), widget.size())

    def back(one: QtCore.QRect, other: QtCore.QRect) -> bool:
        """Whether the other one lies above, or before it in its row."""
        in_a_row = one.top() <= other.center().y() <= one.bottom() or other.top() <= one.center().y() <= other.bottom()
        return other.left() < one.left() if in_a_row else other.top() < one.top()

    if module == "MSLFusion":
        order.remove("segmentEditorFrame")  # filled when painting begins: Slicer's editor comes last
    inner = [name for name in order if not isinstance(getattr(opened.ui, name)._q, QtWidgets.QGroupBox)]
    steps = [pair for pair in pairwise(inner) if back(*map(box, pair))]
    assert steps == []
