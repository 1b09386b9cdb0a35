"""What the images that sensor data alone gives are called in tables, reports and file names."""

FBP, TV, ZERO_FILLED = "FBP", "total variation", "zero-filled"

ENDS = (("ct", 0.0, (FBP, TV)), ("mr", 1.0, (ZERO_FILLED,)))
"""(modality, the lambda that stands for it, names of its sensor images): what one end of the dial is compared with."""

MODALITY = {name: modality for modality, _, names in ENDS for name in names}


def file_stem(name: str) -> str:
    """How the volume's file begins: sensor_fbp, sensor_total-variation, sensor_zero-filled."""
    return f"sensor_{name.lower().replace(' ', '-')}"
