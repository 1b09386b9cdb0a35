"""A restored contrast as a scene: volumes of both resolutions in one window, figures, one folder, saved whole."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from scene_images import oblique_image

from MSLFusionLib.scene import bundle, hierarchy, restored_scene, volumes

ROWS = [{"image": "restored", "resolution": "low", "nmse": 0.01, "psnr": 30.0, "ssim": 0.9}]


def coarse(image: sitk.Image) -> sitk.Image:
    """Every other voxel of an image, on the middle of its blocks."""
    return sitk.BinShrink(image, (2, 2, 1))


def test_coarse_and_fine_volumes_lie_in_one_folder_and_window(scene: Any, tmp_path: Path) -> None:
    target = oblique_image(seed=1)
    images = {"restored": coarse(target), "super-resolved": target, "zero-filled, bicubic": target * 0.5}
    shift = sitk.TranslationTransform(3, (3.0, 0.0, 0.0))
    nodes = restored_scene.add_restored(
        scene, images, oblique_image(seed=2), target, shift, ROWS, {"method": "cmf-net"}, "CMF-Net"
    )
    assert set(nodes) == {*images, "auxiliary", "target"}
    back = volumes.image_from_node(nodes["restored"], in_world=False)
    assert np.allclose(back.GetOrigin(), coarse(target).GetOrigin(), atol=1e-4)
    windows = {kind: nodes[kind].GetDisplayNode().GetWindow() for kind in (*images, "target")}
    assert len(set(windows.values())) == 1
    folder = hierarchy.place_of(scene, nodes["target"])
    assert folder
    assert all(hierarchy.place_of(scene, node) == folder for node in nodes.values())
    assert hierarchy.run_parameters(scene, folder)["method"] == "cmf-net"
    assert scene.GetNumberOfNodesByClass("vtkMRMLTableNode") >= 1
    for view, kind in (
        ("Green", "super-resolved"),
        ("Yellow", "target"),
        ("Red+", "restored"),
        ("Green+", "auxiliary"),
    ):
        shown = scene.GetSingletonNode(view, "vtkMRMLSliceCompositeNode").GetBackgroundVolumeID()
        assert shown == nodes[kind].GetID(), view
    path = bundle.save_bundle(scene, tmp_path / "run.mrb")
    assert any("Super-resolved" in name for name in zipfile.ZipFile(path).namelist())


def test_k_space_has_no_target_volume(tmp_path: Path) -> None:
    image = oblique_image(seed=3)
    path = restored_scene.build_restored_scene(tmp_path / "run.mrb", {"restored": coarse(image)}, image)
    assert path.is_file()
    with pytest.raises(Exception, match="mrb"):
        restored_scene.build_restored_scene(tmp_path / "run.zip", {"restored": image}, image)
