"""RIRE's own layout: header.ascii beside image.bin, plain, packed by gzip or by `compress`."""

import gzip
import shutil
import subprocess

import numpy as np
import pytest

from MSLFusionLib.errors import InputError
from MSLFusionLib.io.lzw import unpacked
from MSLFusionLib.io.volumes import read_volume, source_files

HEADER = """Group length := 100
Modality := CT
Comments := not for use outside the project

Slice thickness := 4.000000
Patient orientation := {orientation}

Image dimensions := 3
Rows := 20
Columns := 24
Slices := 5
Pixel size := 0.653595 : 0.75
Bits allocated := 16
"""
VALUES = np.arange(5 * 20 * 24, dtype=np.int16).reshape(5, 20, 24) - 1000


def write(folder, suffix="", orientation="L : P : H", values=VALUES):
    folder.mkdir(exist_ok=True)
    (folder / "header.ascii").write_text(HEADER.format(orientation=orientation))
    content = values.astype(">i2").tobytes()
    packed = {"": content, ".gz": gzip.compress(content), ".Z": compressed(content)}[suffix]
    (folder / f"image.bin{suffix}").write_bytes(packed)
    return folder


def compressed(data: bytes, widest: int = 16, clear_at: int | None = None) -> bytes:
    """What `compress` makes of `data`; `clear_at`: clear the table once, after so many codes."""
    out, bits, group, width = bytearray([0x1F, 0x9D, 0x80 | widest]), 0, 0, 9

    def put(code):
        nonlocal bits, group
        bits |= code << (group * width)
        group += 1
        if group == 8:
            flush()

    def flush():
        nonlocal bits, group
        if group:
            out.extend(bits.to_bytes(width, "little"))
        bits = group = 0

    table = {bytes([value]): value for value in range(256)}
    used, free, count, now = 257, 257, 0, b""
    for value in data:
        longer = now + bytes([value])
        if longer in table:
            now = longer
            continue
        put(table[now])
        count += 1
        if used < 1 << widest:
            table[longer] = used
            used += 1
        # the reader's table is one entry behind
        free = used - 1
        if free == 1 << width and width < widest:
            flush()
            width += 1
        now = bytes([value])
        if count == clear_at:
            put(256)
            flush()
            width, used, table = 9, 257, {bytes([v]): v for v in range(256)}
    if now:
        put(table[now])
    if group:
        out.extend(bits.to_bytes(width, "little")[: -(-group * width // 8)])
    return bytes(out)


@pytest.mark.parametrize("suffix", ["", ".gz", ".Z"])
def test_a_volume_is_read_plain_and_packed(tmp_path, suffix):
    folder = write(tmp_path / "ct", suffix)
    for path in (folder, folder / "header.ascii"):
        image = read_volume(path)
        assert image.GetSize() == (24, 20, 5)
        assert image.GetSpacing() == pytest.approx((0.75, 0.653595, 4.0))
        assert image.GetDirection() == (1, 0, 0, 0, 1, 0, 0, 0, 1)
    import SimpleITK as sitk

    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), VALUES)
    assert [file.name for file in source_files(folder)] == ["header.ascii", f"image.bin{suffix}"]


def test_the_orientation_is_that_of_the_header(tmp_path):
    image = read_volume(write(tmp_path / "a", orientation="P : F : L"))
    assert image.GetDirection() == (0, 0, 1, 1, 0, 0, 0, -1, 0)
    with pytest.raises(InputError, match="orientation 'L : R : H' that is not possible"):
        read_volume(write(tmp_path / "b", orientation="L : R : H"))


@pytest.mark.parametrize(
    ("widest", "clear_at"), [(16, None), (12, None), (10, None), (16, 1003), (16, 8), (13, 20_000)]
)
def test_compress_is_undone(widest, clear_at, tmp_path):
    rng = np.random.default_rng(0)
    data = np.concatenate([rng.integers(0, 9, 90_000), np.zeros(9_000), rng.integers(0, 256, 90_000)]).astype(np.uint8)
    packed = compressed(data.tobytes(), widest, clear_at)
    if shutil.which("gzip"):  # which knows this format too
        done = subprocess.run(["gzip", "-dc"], input=packed, capture_output=True, check=False)
        assert done.stdout == data.tobytes()
    assert unpacked(packed, len(data) + 99) == data.tobytes()
    assert unpacked(packed, 1234) == data.tobytes()[:1234]


@pytest.mark.parametrize("data", [b"", b"\x1f\x8b\x90aaaa", b"\x1f\x9d\x99aaa", b"\x1f\x9d\x90\xff\xff\xff\xff"])
def test_what_is_no_compressed_file_is_refused(data):
    with pytest.raises(ValueError, match=r"\w"):
        unpacked(data, 100)


def test_damaged_volumes_are_named(tmp_path):
    folder = write(tmp_path / "ct", ".Z")
    whole = (folder / "image.bin.Z").read_bytes()
    (folder / "image.bin.Z").write_bytes(whole[:500])
    with pytest.raises(InputError, match=r"image\.bin\.Z is damaged: [\d,]+ of 4,800 bytes"):
        read_volume(folder)
    (folder / "image.bin.Z").unlink()
    with pytest.raises(InputError, match=r"no image\.bin"):
        read_volume(folder)
    write(folder)
    for line, sentence in (
        ("Rows := 99999999", "not possible"),
        ("Rows := many", "no numbers"),
        ("Slice thickness := 0", "cannot be right"),
        ("Pixel size := 1", "no numbers"),
    ):
        (folder / "header.ascii").write_text(HEADER.format(orientation="L:P:H") + line)
        with pytest.raises(InputError, match=sentence):
            read_volume(folder)
