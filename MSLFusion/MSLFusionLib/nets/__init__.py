"""The networks, each a small file: they know tensors, not files or Slicer."""
