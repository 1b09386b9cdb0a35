"""The views of Slicer that are used, by the singleton tags of their nodes; nothing is imported for them."""

SLICE_VIEWS = {"Red": ("R", "#F34A33"), "Green": ("G", "#6EB04B"), "Yellow": ("Y", "#EDD54C")}
"""In the order of Slicer's layout "Three over three plot"; label and colour as Slicer gives them to new views."""
LOWER_VIEWS = {"Red+": ("R+", "#F9A99F"), "Green+": ("G+", "#C6E0B8"), "Yellow+": ("Y+", "#F6E9A2")}
"""Those below them in the layout "Three over three"."""
PLOT_VIEWS = {"PlotView1": "P", "PlotView2": "P2", "PlotView3": "P3", "PlotView4": "P4"}
TABLE_VIEW = "TableView1"
