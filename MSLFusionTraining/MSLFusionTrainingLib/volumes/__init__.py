"""Training DC2Fusion on pairs of volumes: settings, generated heads, losses, the loop, and the model it gives.

A sibling of the training on slices: the same run folder, states and exact resume; see `trainer`.
"""
