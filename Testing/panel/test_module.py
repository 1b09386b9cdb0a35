"""The module's widget in Slicer's hands: opened, left, reloaded, unloaded."""

import sys
from typing import Any

import pytest
from opened import ROOT
from turns import settle

MODULE = ROOT / "MSLFusion" / "MSLFusion.py"


def test_the_module_opens_leaves_and_ends(slicer_app: Any) -> None:
    import slicer

    widget = slicer_app.open_module(MODULE)
    settle()
    assert widget.panel.entered
    assert slicer.util.getModuleWidget("MSLFusion").logic is widget.logic  # slicer.util.getModuleLogic looks there
    assert sys.modules["MSLFusion"].MSLFusionLogic is type(widget.logic)
    with pytest.raises(AttributeError, match="MSLFusionFileWriter"):
        _ = sys.modules["MSLFusion"].MSLFusionFileWriter
    panel = widget.panel
    widget.exit()
    assert not panel.entered
    widget.enter()
    widget.cleanup()
    widget.cleanup()
    widget.enter()
    widget.exit()
    assert widget.panel is None
    settle()


def test_a_reload_brings_new_code_and_keeps_the_parameters(slicer_app: Any) -> None:
    import slicer

    before = {name: module for name, module in sys.modules.items() if name.startswith("MSLFusion")}
    try:
        widget = slicer_app.open_module(MODULE)
        settle()
        widget.logic.getParameterNode().sensors.views = 48
        old = sys.modules["MSLFusionPanel.panel"]
        slicer.util.getModuleWidget("MSLFusion").onReload()
        settle()
        again = slicer.util.getModuleWidget("MSLFusion")
        assert again is not widget
        assert widget.panel is None
        assert sys.modules["MSLFusionPanel.panel"] is not old
        assert again.panel.entered
        assert again.panel.ui.viewsSpinBox.value == 48
    finally:
        for name in [name for name in sys.modules if name.startswith("MSLFusion")]:
            del sys.modules[name]
        sys.modules.update(before)
