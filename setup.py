"""The packages lie in the folders of Slicer's modules, and the shipped weights in the module's Resources."""

from setuptools import find_packages, setup

ROOTS = {"MSLFusionLib": "MSLFusion", "MSLFusionTrainingLib": "MSLFusionTraining"}
MODELS = "MSLFusionLib.Resources.Models"

setup(
    packages=[
        *(name for package, root in ROOTS.items() for name in find_packages(root, include=[f"{package}*"])),
        MODELS,
    ],
    package_dir={
        **{package: f"{root}/{package}" for package, root in ROOTS.items()},
        MODELS: "MSLFusion/Resources/Models",
    },
    package_data={MODELS: ["*.safetensors"]},
)
