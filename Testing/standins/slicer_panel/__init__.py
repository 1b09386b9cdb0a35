"""Slicer for the panel's tests: PySide6 offscreen under PythonQt's rules, over a real MRML scene.

api.txt and api.py say what Slicer's widgets have, pythonqt.py how Python sees Qt objects, widgets.py what the widgets
do, ui_files.py loads and checks .ui files, parameter_node.py is slicer.parameterNodeWrapper, application.py the rest.
Use them through the fixtures of Testing/panel/conftest.py.
"""
