"""The panel of MSL Fusion inside 3D Slicer: Qt and MRML, no computation."""
