"""Psfs in files of every kind: the numbers of the file, and one sentence for what is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.io

from unconv.pictures.formats import Picture, PictureError, write_picture
from unconv.pictures.formats.kernels import read_kernel

PSF = np.array([[0.0, 1, 2, 1], [1, 4, 7.5, 2], [0, 1, 3, 0]])

TEXTS = {
    "comma": ("a.csv", "\n".join(",".join(map(str, row)) for row in PSF)),
    "semicolon": ("a.csv", "\n".join(";".join(map(str, row)) for row in PSF) + "\n\n"),
    "decimal comma": ("a.csv", "\n".join(";".join(map(str, r)) for r in PSF).replace(".", ",")),
    "tab": ("a.tsv", "\n".join("\t".join(map(str, row)) for row in PSF)),
    "spaces": ("a.txt", "# of a star\n" + "\n".join("  ".join(map(str, row)) for row in PSF)),
    "byte order mark": ("a.csv", "\ufeff" + "\n".join(",".join(map(str, row)) for row in PSF)),
}


@pytest.mark.parametrize("kind", TEXTS)
def test_text(tmp_path: Path, kind: str) -> None:
    name, text = TEXTS[kind]
    (tmp_path / name).write_text(text, encoding="utf-8")
    np.testing.assert_array_equal(read_kernel(tmp_path / name), PSF)


def test_one_row_and_one_number(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("1 2 1\n")
    assert read_kernel(tmp_path / "a.txt").shape == (1, 3)
    (tmp_path / "a.txt").write_text("3\n")
    assert read_kernel(tmp_path / "a.txt").shape == (1, 1)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.uint8, np.int16])
def test_mat(tmp_path: Path, dtype: type) -> None:
    contents = {"psf": PSF.astype(dtype), "note": "of a star", "cube": np.zeros((2, 2, 2))}
    scipy.io.savemat(tmp_path / "a.mat", contents)
    np.testing.assert_array_equal(read_kernel(tmp_path / "a.mat"), PSF.astype(dtype))


@pytest.mark.parametrize("name", ["a.npy", "a.tif", "a.png", "a.fits"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_pictures_hold_counts(tmp_path: Path, name: str, dtype: str) -> None:
    if name == "a.png" and dtype == "float32":
        return
    if name == "a.fits":
        pytest.importorskip("astropy")
    values = np.floor(PSF)
    full = np.iinfo(dtype).max if dtype.startswith("u") else 1
    write_picture(tmp_path / name, Picture(values[None] / full, dtype=np.dtype(dtype)))
    np.testing.assert_allclose(read_kernel(tmp_path / name), values, rtol=1e-12)


@pytest.mark.parametrize("rows", [4, 5])
def test_the_middle_of_fits_is_its_own(tmp_path: Path, rows: int) -> None:
    """Its rows are turned as a picture's are, and the sample (h//2, w//2) stays the centre."""
    fits = pytest.importorskip("astropy.io.fits")
    values = np.zeros((rows, 5))
    values[rows // 2, 5 // 2] = 7
    values[rows // 2 - 1, 5 // 2] = 2  # stored above the centre in the file: seen below it
    fits.PrimaryHDU(values).writeto(tmp_path / "a.fits")
    found = read_kernel(tmp_path / "a.fits")
    h, w = (n // 2 for n in found.shape)
    assert (found[h, w], found[h + 1, w], found.sum()) == (7, 2, 9)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", b"a,b\n1,2\n", "no table of numbers"),
        ("a.csv", b"1,2\n1,2,3\n", "no table of numbers"),
        ("a.csv", b"\xff\xfe\x00", "no table of numbers"),
        ("a.csv", b"", "holds no numbers"),
        ("a.txt", b"# nothing\n", "holds no numbers"),
        ("a.txt", b"1 nan\n2 3\n", "1 pixel values are NaN"),
        ("a.mat", b"no matlab", "damaged or no MAT file"),
        ("a.mat", b"", "damaged or no MAT file"),
        ("missing.csv", None, "cannot be opened"),
        ("missing.mat", None, "cannot be opened"),
        ("missing.npy", None, "cannot be opened"),
    ],
)  # fmt: skip
def test_refused(tmp_path: Path, name: str, content: bytes | None, says: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PictureError, match=says) as error:
        read_kernel(path)
    assert name in str(error.value)
    assert "\n" not in str(error.value)


def test_mat_of_several_or_none(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "a.mat", {"k": PSF, "g": PSF})
    with pytest.raises(PictureError, match=r"2 arrays .* \(g, k\), expected one"):
        read_kernel(tmp_path / "a.mat")
    scipy.io.savemat(tmp_path / "a.mat", {"cube": np.zeros((2, 2, 2))})
    with pytest.raises(PictureError, match=r"0 arrays"):
        read_kernel(tmp_path / "a.mat")
    (tmp_path / "b.mat").write_bytes(
        b"MATLAB 7.3 MAT-file".ljust(116) + bytes(8) + b"\0\2IM" + bytes(400)
    )
    with pytest.raises(PictureError, match=r"7\.3; save it with -v7"):
        read_kernel(tmp_path / "b.mat")


# --- remedies, tried


@pytest.mark.parametrize("planes", [2, 5, 8])
@pytest.mark.parametrize("rows", [4, 5])
def test_a_cube_of_fits_is_a_psf_of_three_axes(tmp_path: Path, planes: int, rows: int) -> None:
    fits = pytest.importorskip("astropy.io.fits")
    values = np.zeros((planes, rows, 5))
    values[planes // 2, rows // 2, 2] = 7
    values[planes // 2, rows // 2 - 1, 2] = 2  # seen below the centre, as of two axes
    values[0, 1, 4] = 3
    fits.PrimaryHDU(values).writeto(tmp_path / "a.fits")
    found = read_kernel(tmp_path / "a.fits")
    assert len(found) == planes
    d, h, w = (n // 2 for n in found.shape)
    assert (found[d, h, w], found[d, h + 1, w], found.sum()) == (7, 2, 12)


@pytest.mark.parametrize("name", ["a.npy", "a.fits"])
def test_a_psf_of_four_axes_is_told_how_psfs_of_three_are_kept(tmp_path: Path, name: str) -> None:
    values = np.random.default_rng(0).random((2, 5, 7, 17))
    if name == "a.fits":
        fits = pytest.importorskip("astropy.io.fits")
        fits.PrimaryHDU(values).writeto(tmp_path / name)
    else:
        np.save(tmp_path / name, values)
    with pytest.raises(PictureError, match=r"expected one psf; save it as .*\(d, h, w\) in NPY"):
        read_kernel(tmp_path / name)
    np.save(tmp_path / "one.npy", values[0])
    assert read_kernel(tmp_path / "one.npy").shape == (5, 7, 17)


def test_a_psf_with_nan_is_cropped_or_set_to_its_background(tmp_path: Path) -> None:
    values = np.pad(PSF, 1, constant_values=np.nan)
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(PictureError, match="crop the psf to what was measured, or set them"):
        read_kernel(tmp_path / "a.npy")
    for mended in (values[1:-1, 1:-1], np.nan_to_num(values, nan=0.0)):
        np.save(tmp_path / "a.npy", mended)
        np.testing.assert_array_equal(read_kernel(tmp_path / "a.npy"), mended)
