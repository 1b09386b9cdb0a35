"""fastMRI pairs as a training set: what comes out of the k-space, which pairs are for validation, what is refused."""

import numpy as np
import pytest
import raw_files
import torch

from MSLFusionLib.errors import InputError
from MSLFusionTrainingLib.restoration import fastmri
from MSLFusionTrainingLib.restoration.config import RestorationConfig
from MSLFusionTrainingLib.restoration.sets import training_slices, validation_volumes, with_data
from MSLFusionTrainingLib.restoration.trainer import RestorationTrainer

ROWS, COLUMNS, SIZE = 40, 36, 32
XML = raw_files.ismrmrd_xml((ROWS, COLUMNS), (160.0, 144.0, 5.0), ROWS)
CPU = torch.device("cpu")


def images(seed, slices=3, coils=2):
    """Smooth magnitudes with a coil's weight each, (slices, coils, rows, columns)."""
    y, x = np.mgrid[-1 : 1 : ROWS * 1j, -1 : 1 : COLUMNS * 1j]
    shown = np.stack([np.exp(-4 * ((x - 0.1 * seed) ** 2 + (y + 0.1 * k) ** 2)) for k in range(slices)])
    weights = np.stack([0.6 + 0 * x, 0.8 + 0 * x])[:coils]
    return shown[:, None] * weights


def write(path, image, mask=None):
    kspace = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(image, axes=(-2, -1)), norm="ortho"), axes=(-2, -1))
    return raw_files.write_fastmri(path, kspace if mask is None else kspace * mask, XML, mask)


def table(folder, count, split=None):
    """A CSV of so many pairs; multi-coil auxiliaries, single-coil targets with a slice more."""
    folder.mkdir(exist_ok=True)
    lines = ["auxiliary,target" + (",split" if split else "")]
    for n in range(count):
        write(folder / f"pd{n}.h5", images(n))
        write(folder / f"pdfs{n}.h5", images(n + 1, 4, 1)[:, 0])
        lines.append(f"pd{n}.h5,pdfs{n}.h5" + (f",{split[n]}" if split else ""))
    path = folder / "pairs.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_slices_are_the_central_magnitudes_of_both_contrasts(tmp_path):
    pair = fastmri.read_table(table(tmp_path, 1))[0]
    path = fastmri.prepared(pair, SIZE, tmp_path / "cache")
    found = fastmri.PairSlices([path, path])
    assert len(found) == 6  # the shorter volume's slices, twice
    middle = np.s_[:, (ROWS - SIZE) // 2 :, (COLUMNS - SIZE) // 2 :]
    first, second = images(0)[:, 0][middle][:, :SIZE, :SIZE], images(1)[:3, 0][middle][:, :SIZE, :SIZE]
    batch = found.batch(torch.tensor([4, 0]), CPU).numpy()
    for contrast, truth in enumerate((first, second)):
        for place, number in enumerate((1, 0)):
            inside = batch[place, contrast] < 1  # the brightest pixels are clipped
            scale = (batch[place, contrast][inside] / truth[number][inside]).mean()
            assert np.allclose(batch[place, contrast][inside], scale * truth[number][inside], atol=2e-3)
    assert fastmri.prepared(pair, SIZE, tmp_path / "cache") == path
    assert fastmri.pixel_mm([pair]) == pytest.approx(4.0)


def test_some_pairs_are_for_validation(tmp_path):
    pairs = fastmri.read_table(table(tmp_path, 2))
    assert [pair.validation for pair in pairs] == [False, True]
    pairs = fastmri.read_table(table(tmp_path, 3, ["validation", "train", "train"]))
    assert [pair.validation for pair in pairs] == [True, False, False]


def test_a_training_on_pairs(tmp_path):
    small = {"channels": 4, "unet_channels": 2, "exchanges": 1, "steps": 1, "pools": 1}
    settings = {"model": small, "size": SIZE, "crop": 0, "pad": 2, "iterations": 2, "contrasts": ["pd", "pdfs"]}
    config = with_data(RestorationConfig.from_dict(settings | {"pairs": str(table(tmp_path, 2))}))
    assert (config.name, config.pixel_mm) == ("cmf-pd-pdfs-x2", 4.0)
    train, validation = training_slices(config, tmp_path / "cache"), validation_volumes(config, tmp_path / "cache")
    assert (len(train), [len(one) for one in validation]) == (3, [3])
    run = RestorationTrainer(config, train, validation, tmp_path / "run")
    run.run()
    assert run.iteration == 2
    assert run.best["score"] > 0


def test_what_cannot_be_trained_on_is_named(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        fastmri.read_table(tmp_path / "none.csv")
    bad = tmp_path / "bad.csv"
    bad.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="columns auxiliary and target"):
        fastmri.read_table(bad)
    bad.write_text("auxiliary,target\nx.h5,y.h5\n")
    with pytest.raises(InputError, match=r"pair 1: .*x\.h5 does not exist"):
        fastmri.read_table(bad)
    path = table(tmp_path, 1, ["test"])
    with pytest.raises(InputError, match="'test'"):
        fastmri.read_table(path)
    pair = fastmri.read_table(table(tmp_path, 1))[0]
    with pytest.raises(InputError, match="36 x 40 pixels"):
        fastmri.prepared(pair, 64, tmp_path / "cache")
    write(tmp_path / "pdfs0.h5", images(1, 4, 1)[:, 0], np.arange(COLUMNS) % 2 == 0)
    with pytest.raises(InputError, match="undersampled"):
        fastmri.prepared(pair, SIZE, tmp_path / "cache")
    with pytest.raises(InputError, match="not both"):
        RestorationConfig.from_dict({"data": "a", "pairs": "b"})
