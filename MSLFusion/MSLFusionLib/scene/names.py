"""Names of new nodes."""

from itertools import count
from typing import Any


def free_name(scene: Any, name: str) -> str:
    """`name` where no node has it, else with the first number that is free: "Metrics", "Metrics_1", ...

    vtkMRMLScene.GenerateUniqueName never gives a name twice, so what is replaced again and again would be renamed
    each time.
    """
    if scene.GetFirstNodeByName(name) is None:
        return name
    numbered = (f"{name}_{number}" for number in count(1))
    return next(one for one in numbered if scene.GetFirstNodeByName(one) is None)
