"""Image fusion: two images of one object become one that shows what both show.

Classical methods and learned ones stand side by side in one registry (`registry`), with the metrics that judge them
(`metrics`) and the way from two volumes to a result (`run`).
"""
