"""The stand-ins refuse what Slicer refuses, so that a panel that passes here opens there."""

import enum
import sys
from pathlib import Path
from typing import Annotated

import pytest
from standins.slicer_panel import pythonqt
from standins.slicer_panel.api import TABLE
from standins.slicer_panel.application import Application
from standins.slicer_panel.ui_files import check_ui

ROOT = Path(__file__).resolve().parents[2]
PANEL = ROOT / "MSLFusion" / "Resources" / "UI" / "MSLFusion.ui"

UI = """<ui version="4.0"><class>T</class><widget class="qMRMLWidget" name="T">
<layout class="QVBoxLayout" name="column">
 <item><widget class="qMRMLNodeComboBox" name="selector">
  <property name="nodeTypes"><stringlist notr="true"><string>vtkMRMLScalarVolumeNode</string></stringlist></property>
  <property name="noneEnabled"><bool>true</bool></property>
  <property name="SlicerParameterName" stdset="0"><string>volume</string></property></widget></item>
 <item><widget class="ctkPathLineEdit" name="path">
  <property name="filters"><set>ctkPathLineEdit::Files|ctkPathLineEdit::Readable</set></property></widget></item>
 <item><widget class="QLabel" name="label"><property name="wordWrap"><bool>true</bool></property></widget></item>
</layout></widget>
<customwidgets>
 <customwidget><class>qMRMLWidget</class><extends>QWidget</extends><header>qMRMLWidget.h</header>
  <container>1</container></customwidget>
 <customwidget><class>qMRMLNodeComboBox</class><extends>QWidget</extends><header>qMRMLNodeComboBox.h</header>
 </customwidget>
 <customwidget><class>ctkPathLineEdit</class><extends>QWidget</extends><header>ctkPathLineEdit.h</header>
 </customwidget>
</customwidgets>
<resources/><connections>
 <connection><sender>T</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal><receiver>selector</receiver>
  <slot>setMRMLScene(vtkMRMLScene*)</slot></connection>
</connections></ui>"""


@pytest.mark.usefixtures("slicer_app")
def test_properties_are_attributes():
    import qt

    label = qt.QLabel("text")
    label.text = "other"
    assert label.text == "other"
    label.alignment = qt.Qt.AlignTop
    assert label.alignment == qt.Qt.AlignTop
    label.name = "its name"
    assert label.objectName == "its name"
    with pytest.raises(TypeError, match="not callable"):
        label.text()
    with pytest.raises(AttributeError, match="creating new attributes"):
        label.anything = 1
    with pytest.raises(AttributeError, match="can not be overwritten"):
        label.setText = 1
    with pytest.raises(AttributeError, match="does not accept"):
        label.wordWrap = "yes"
    with pytest.raises(AttributeError, match="not writable"):
        qt.QComboBox().count = 1
    with pytest.raises(TypeError, match="keyword"):
        label.setText(text="x")
    with pytest.raises(AttributeError):
        qt.QVBoxLayout().contentsMargins  # noqa: B018 - a property in Qt 6, a method in Qt 5
    timer = qt.QTimer()
    with pytest.raises(AttributeError):
        timer.singleShot = True


@pytest.mark.usefixtures("slicer_app")
def test_a_class_derived_in_python_may_hold_attributes_and_overrides_virtuals():
    import qt

    class Filter(qt.QObject):
        def eventFilter(self, watched, event):
            self.seen = watched, event.type()
            return False

    watcher, label = Filter(), qt.QLabel()
    label.installEventFilter(watcher)
    label.show()
    assert watcher.seen[0] is label


@pytest.mark.usefixtures("slicer_app")
def test_signals_are_connected_by_signature():
    import ctk
    import qt

    button, seen = qt.QPushButton(), []
    button.checkable = True
    assert button.connect("clicked(bool)", seen.append)
    button.clicked.connect(lambda: seen.append("no argument"))
    button.click()
    assert seen == [True, "no argument"]
    assert button.disconnect("clicked(bool)", seen.append)
    button.click()
    assert seen == [True, "no argument", "no argument"]
    for widget, signal in ((button, "clickd()"), (button, "clicked(int)"), (ctk.ctkSliderWidget(), "sliderMoved(int)")):
        with pytest.raises(ValueError, match="does not exist"):
            widget.connect(signal, print)


@pytest.mark.usefixtures("slicer_app")
def test_an_error_in_a_slot_is_kept_for_the_test_to_fail(capfd: pytest.CaptureFixture[str]):
    import qt

    button = qt.QPushButton()
    button.connect("clicked()", lambda: 1 / 0)
    pythonqt.ERRORS.clear()
    try:
        button.click()
        assert "ZeroDivisionError" in pythonqt.ERRORS[0]
    finally:
        pythonqt.ERRORS.clear()
    assert "ZeroDivisionError" in capfd.readouterr().err


@pytest.mark.usefixtures("slicer_app")
def test_a_process_talks(pump):
    import qt

    process, out, ends = qt.QProcess(), [], []
    process.connect("readyReadStandardOutput()", lambda: out.append(process.readAllStandardOutput().data()))
    process.connect("finished(int,QProcess::ExitStatus)", lambda code, status: ends.append((code, status)))
    process.start(sys.executable, ["-c", "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read()[::-1])"])
    process.write(qt.QByteArray(b"\x00abc"))
    process.closeWriteChannel()
    pump(lambda: ends)
    assert b"".join(out) == b"cba\x00"
    assert ends == [(0, qt.QProcess.NormalExit)]
    assert process.state() == qt.QProcess.NotRunning
    with pytest.raises(TypeError):
        len(qt.QByteArray(b"abc"))


@pytest.mark.usefixtures("slicer_app")
def test_setters_that_only_cpp_has_are_refused():
    import ctk
    import slicer

    slider = ctk.ctkSliderWidget()
    slider.maximum, slider.value = 1.0, 0.25
    with pytest.raises(AttributeError):
        slider.setMaximum(2.0)
    with pytest.raises(NotImplementedError, match="stand-in lacks it"):
        slicer.qMRMLSegmentEditorWidget().rotateSliceViewsToSegmentation  # noqa: B018


@pytest.mark.usefixtures("slicer_app")
def test_a_slider_without_tracking_tells_the_last_value_at_the_release():
    import ctk

    slider, moves, values = ctk.ctkSliderWidget(), [], []
    slider.minimum, slider.maximum, slider.tracking = 0.0, 1.0, False
    slider.connect("valueIsChanging(double)", moves.append)
    slider.connect("valueChanged(double)", values.append)
    bar = slider.findChild("QSlider")
    bar.sliderDown = True
    bar.value = 300
    bar.value = 500
    assert (moves, values, slider.value) == ([0.3, 0.5], [], 0.0)
    bar.sliderDown = False
    assert (values, slider.value) == ([0.5], 0.5)


def test_a_node_selector_follows_the_scene(scene):
    import slicer

    selector, seen = slicer.qMRMLNodeComboBox(), []
    selector.nodeTypes, selector.noneEnabled = ["vtkMRMLScalarVolumeNode"], True
    selector.setMRMLScene(scene)
    selector.connect("currentNodeChanged(vtkMRMLNode*)", seen.append)
    ct, mr, again = (scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name) for name in ("CT", "MR", "MR"))
    scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    assert (selector.nodeCount(), selector.currentNode()) == (3, None)
    selector.setCurrentNode(ct)
    assert selector.currentNodeID == ct.GetID()
    scene.RemoveNode(ct)  # the next one takes its place, although None is allowed
    assert selector.currentNode() is mr
    selector.setCurrentNode(again)  # of the same name: Slicer's selector changes without a signal
    assert seen == [ct, mr]
    again.SetName("PET")
    assert seen == [ct, mr, again]
    scene.Clear(False)
    assert selector.currentNode() is None
    assert seen[-1] is None
    with pytest.raises(TypeError, match="not callable"):
        selector.currentNodeID()


def test_a_ui_file_is_loaded_with_its_wires(slicer_app: Application, tmp_path: Path):
    import slicer

    (tmp_path / "t.ui").write_text(UI)
    assert check_ui(tmp_path / "t.ui") == []
    top = slicer.util.loadUI(str(tmp_path / "t.ui"))
    ui = slicer.util.childWidgetVariables(top)
    top.setMRMLScene(slicer_app.scene)
    assert ui.selector.mrmlScene() is slicer_app.scene
    assert ui.selector.property("SlicerParameterName") == "volume"
    assert ui.path.filters == 0x12
    assert top.findChildren("qMRMLNodeComboBox") == (ui.selector,)


@pytest.mark.parametrize(
    ("right", "wrong", "complaint"),
    [
        ("noneEnabled", "noneAllowed", "no property noneAllowed"),
        ("wordWrap", "wordWrapping", "no property wordWrapping"),
        ('"QLabel"', '"QLabell"', "unknown class QLabell"),
        ("<header>qMRMLNodeComboBox.h", "<header>other.h", "header other.h"),
        ("<slot>setMRMLScene(vtkMRMLScene*)", "<slot>setScene(vtkMRMLScene*)", "no slot setScene"),
        ("<signal>mrmlSceneChanged(vtkMRMLScene*)", "<signal>sceneChanged()", "no signal sceneChanged"),
        ("<container>1</container>", "", "container has to be 1"),
        ("<class>ctkPathLineEdit</class>", "<class>ctkFileEdit</class>", "unknown class ctkFileEdit"),
        ("<extends>QWidget</extends><header>ctkPath", "<extends>QLabel</extends><header>ctkPath", "extends QLabel"),
        ('"wordWrap"', '"wordWrap" stdset="0"', "yet dynamic"),
    ],
)
def test_a_wrong_ui_file_is_told(tmp_path: Path, right: str, wrong: str, complaint: str):
    assert right in UI
    (tmp_path / "t.ui").write_text(UI.replace(right, wrong))
    assert complaint in "\n".join(check_ui(tmp_path / "t.ui"))


def test_the_panels_ui_file_has_only_what_slicer_has():
    assert check_ui(PANEL) == []


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


def test_parameters_lie_in_the_node_as_slicer_writes_them(scene):
    import slicer
    from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper, parameterPack

    @parameterPack
    class Pack:
        colour: Colour = Colour.BLUE
        values: list[float]
        volume: slicer.vtkMRMLScalarVolumeNode

    @parameterNodeWrapper
    class Parameters:
        pack: Pack
        share: Annotated[float, WithinRange(0, 1)] = 0.5
        other: slicer.vtkMRMLScalarVolumeNode | None

    node = scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")
    volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    parameters = Parameters(node)
    parameters.pack.colour = Colour.RED
    parameters.pack.values.append(0.25)
    parameters.pack.volume = volume
    texts = {name: node.GetParameter(name) for name in node.GetParameterNames()}
    assert texts == {
        "pack.colour": "RED",
        "pack.values.len": "1",
        "pack.values.0": "0.25",
        "pack.volume": "",
        "share": "0.5",
        "other.1": "True",
    }
    assert node.GetNodeReferenceID("pack.volume") == volume.GetID()
    with pytest.raises(ValueError, match="WithinRange"):
        parameters.share = 1.5
    with pytest.raises(AttributeError):
        parameters.pack.unknown = 1
    with pytest.raises(TypeError):
        parameters.pack.colour = "RED"


def test_widgets_and_types_that_slicer_cannot_connect_are_refused(scene):
    import ctk
    import qt
    import slicer
    from slicer.parameterNodeWrapper import parameterNodeWrapper

    @parameterNodeWrapper
    class Parameters:
        number: float
        text: str
        flag: bool
        colour: Colour

    parameters = Parameters(scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))
    refused = {
        "number": (ctk.ctkSliderWidget, qt.QSpinBox, qt.QLineEdit),
        "text": (qt.QPlainTextEdit, qt.QComboBox, ctk.ctkPathLineEdit),
        "flag": (qt.QRadioButton, qt.QToolButton),
        "colour": (qt.QLineEdit, slicer.qMRMLNodeComboBox),
    }
    for name, classes in refused.items():
        for cls in classes:
            with pytest.raises(RuntimeError, match=r"connect|Choice"):
                parameters.connectParametersToGui({name: cls()})
    box = qt.QComboBox()
    parameters.connectParametersToGui({"colour": box})
    box.currentIndex = 1
    assert parameters.colour is Colour.BLUE
    with pytest.raises(ValueError, match="Cannot find a param"):
        parameters.connectParametersToGui({"nothing": box})


@pytest.mark.usefixtures("slicer_app")
def test_popups_need_an_answer(slicer_app: Application):
    import qt
    import slicer

    with pytest.raises(AssertionError, match="unexpected popup"):
        slicer.util.confirmOkCancelDisplay("Sure?")
    with pytest.raises(AssertionError, match="unexpected popup"):
        qt.QFileDialog.getOpenFileName()
    slicer_app.dialogs.answers = [True]
    assert slicer.util.confirmOkCancelDisplay("Sure?")
    assert len(slicer_app.dialogs.asked) == 3


def test_a_command_line_module_runs_fails_and_is_cancelled(slicer_app: Application, pump):
    import slicer

    given: list[dict] = []
    module = slicer_app.add_cli("brainsfit", given.append)
    node = slicer.cli.run(slicer.modules.brainsfit, None, {"samplingPercentage": 0.02})
    pump(lambda: node.GetStatus() == node.Completed)
    assert given == [{"samplingPercentage": 0.02}]
    module.work = lambda _parameters: 1 / 0
    node = slicer.cli.run(module, None, {})
    pump(lambda: node.GetStatus() & node.ErrorsMask)
    assert "division" in node.GetErrorText()
    module.hold = True
    node = slicer.cli.run(module, None, {})
    pump(lambda: node.GetStatus() == node.Running)
    node.Cancel()
    pump(lambda: node.GetStatus() == node.Cancelled)


def test_everything_is_taken_away_again(scene):
    import slicer

    assert slicer.app.layoutManager().sliceViewNames() == ("Red", "Green", "Yellow")
    assert slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode().GetLayoutName() == "Red"
    assert all(name.startswith(("q", "ctk")) for name in TABLE)


def test_nothing_is_left_of_the_application():
    import slicer

    assert not hasattr(slicer, "app")
    assert not hasattr(slicer, "mrmlScene")
    assert not hasattr(slicer, "qMRMLNodeComboBox")
