"""Slicer for the panel's tests: PySide6 offscreen under PythonQt's rules, over a real MRML scene.

api.txt and api.py say what Slicer's widgets have, pythonqt.py how Python sees Qt objects, widgets.py and
mrml_widgets.py what the widgets do, ui_files.py loads and checks .ui files, parameter_kinds.py and parameter_node.py
are slicer.parameterNodeWrapper, command_line.py is slicer.cli, scripted.py the base classes of modules and SampleData,
application.py puts all of it in place. Use them through the fixtures of Testing/panel/conftest.py.
"""
