"""To be imported before modules of the panel: `qt` and `slicer.i18n` without an application around them."""

import sys
from types import ModuleType

import slicer  # noqa: F401 - the package, whose submodule is put in place here
from standins.slicer_panel.pythonqt import QtModule

if "qt" not in sys.modules:
    sys.modules["qt"] = QtModule("qt")
if "slicer.i18n" not in sys.modules:
    sys.modules["slicer.i18n"] = i18n = ModuleType("slicer.i18n")
    i18n.tr, i18n.translate = lambda text: text, lambda context, text: text
