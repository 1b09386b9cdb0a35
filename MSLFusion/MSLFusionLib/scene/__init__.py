"""The only folder that imports slicer: MRML nodes to and from the library."""
