"""`unconv inspect`: the library's figures, from a psf or a checkpoint to a table and a picture."""

from __future__ import annotations

import collections
import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("typer")

from PIL import Image

from unconv import ConvOperator
from unconv.inspection import inspect_operator, response
from unconv.pictures.restoration import BOUNDARIES, blur_operator
from unconv.psf import models as psf

from .commands import contents, fail, run, succeed

SMALL = "--size", "12x14"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    """A folder to work in, with a few checkpoints, and a coarse grid of frequencies."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(response, "_GRID", {1: 64, 2: 32, 3: 16})
    generator = torch.Generator().manual_seed(0)

    def weight(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    state = {
        "line.weight": weight(2, 3, 5),
        "conv1.weight": weight(4, 2, 3, 3),
        "conv2.weight": weight(1, 1, 3, 3),
        "depth.weight": weight(6, 1, 3, 3),
        "vol.weight": weight(1, 1, 3, 3, 3),
        "fc.weight": weight(3, 4),
        "conv1.bias": weight(4),
        "bad.weight": weight(1, 1, 3, 3) * torch.nan,
        "whole.weight": torch.ones(1, 1, 3, 3, dtype=torch.long),
    }
    torch.save(state, "m.pt")
    torch.save({"state_dict": collections.OrderedDict(state), "epoch": 3}, "nested.ckpt")
    torch.save({"fc.weight": weight(3, 4)}, "flat.pth")
    torch.save([1, 2], "list.pt")
    torch.save(torch.nn.Conv2d(1, 1, 3), "module.pt")
    Path("text.pt").write_text("no checkpoint")
    np.save("plus.npy", np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], float))
    (tmp_path / "folder.png").mkdir()
    return tmp_path


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_is_that_of_the_library(folder, boundary):
    facts = succeed("inspect", "motion:4,30", *SMALL, "--boundary", boundary)
    found = inspect_operator(blur_operator(psf.motion(4, 30), (12, 14), boundary))
    assert facts["sigma_max"]["value"] == found.sigma_max.value
    assert facts["sigma_min"]["value"] == found.sigma_min.value
    assert [level["rank"] for level in facts["levels"]] == [v.rank for v in found.levels]
    assert facts["advice"] == list(found.advice)
    assert (facts["kernel_of"], facts["size"]) == ("motion:4,30", "12x14")
    assert facts["boundary"] == boundary


def test_json_schema(folder):
    facts = succeed("inspect", "plus.npy", *SMALL, "-o", "a.png")
    for name in ("sigma_max", "sigma_min", "cond", "rank"):
        assert facts[name].keys() == {"value", "lower", "upper", "how"}
    assert facts.keys() == {
        *("kernel_of", "size", "shape", "domain_shape", "range_shape", "boundary", "stride"),
        *("groups", "kernel", "method", "reason", "sigma_max", "sigma_min", "cond", "rank"),
        *("singular_values", "values_of", "levels", "transfer", "damp", "damped_gain", "advice"),
        *("skipped", "figure"),
    }
    assert facts["transfer"].keys() == {"grid", "maximum", "minimum", "at", "zeros"}
    assert all(v.keys() == {"rtol", "rank", "of", "noise_gain"} for v in facts["levels"])
    assert facts["figure"] == "a.png"


def test_table(folder):
    result = run("inspect", "gaussian:0.7", *SMALL)
    assert result.exit_code == 0
    for part in ("largest σ", "smallest σ", "condition", "cut-off 1e-02", "noise gain", "advice 1"):
        assert part in result.stdout
    assert set(contents(folder)) == {p.name for p in folder.iterdir() if p.is_file()}


def test_help_shows_the_formula_and_a_command():
    result = run("inspect", "--help")
    assert result.exit_code == 0
    said = " ".join(result.stdout.split())
    assert "√(Σ 1/σ² / n)" in said
    assert "Example: unconv inspect " in said


# Layers


@pytest.mark.parametrize(
    ("layer", "size", "options"),
    [
        ("m.pt:line", "20", {}),
        ("m.pt:conv1.weight", "8x9", {}),
        ("nested.ckpt:conv1", "8x9", {"stride": 2}),
        ("m.pt:depth", "8x8", {"groups": 6}),
        ("m.pt:depth", "8x8", {"groups": 1}),
        ("m.pt:vol", "5x4x6", {}),
    ],
)
def test_layers(folder, layer, size, options):
    flags = [v for name, value in options.items() for v in (f"--{name}", value)]
    facts = succeed("inspect", layer, "--size", size, "--boundary", "zeros", *flags)
    path, name = layer.removesuffix(".weight").split(":")
    state = torch.load(path, weights_only=True)
    weight = state.get("state_dict", state)[f"{name}.weight"]
    sizes = [int(v) for v in size.split("x")]
    op = ConvOperator(weight, sizes, padding=weight.shape[-1] // 2, **options)
    S = torch.linalg.svdvals(op.to_dense().double())
    assert facts["shape"] == list(op.shape)
    assert facts["sigma_max"]["value"] == pytest.approx(float(S[0]), rel=1e-6)
    assert facts["sigma_min"]["value"] == pytest.approx(float(S[-1]), rel=1e-4, abs=1e-7)


def test_valid_layer_is_not_padded(folder):
    facts = succeed("inspect", "m.pt:conv2", *SMALL, "--boundary", "valid")
    assert facts["range_shape"] == [1, 10, 12]
    assert facts["boundary"] == "valid"


@pytest.mark.skipif(
    importlib.util.find_spec("safetensors") is not None, reason="safetensors is installed"
)
def test_safetensors_without_its_package(folder):
    Path("m.safetensors").write_bytes(b"")
    fail(folder, 3, "inspect", "m.safetensors:conv1", says=("pip install safetensors",))


def test_safetensors(folder):
    package = pytest.importorskip("safetensors.torch")
    package.save_file({"a.weight": torch.randn(1, 1, 3)}, "m.safetensors")
    assert succeed("inspect", "m.safetensors:a", "--size", 9)["kernel"] == [1, 1, 3]


# Pictures


@pytest.mark.parametrize(
    "arguments",
    [
        ("motion:4,30", "--size", "12x14"),
        ("m.pt:line", "--size", 20),
        ("m.pt:vol", "--size", "5x4x6"),
        ("m.pt:conv1", "--size", "8x8", "--boundary", "valid"),
    ],
)
def test_picture(folder, arguments):
    facts = succeed("inspect", *arguments, "-o", "a.PNG")
    assert facts["figure"] == "a.PNG"
    with Image.open("a.PNG") as picture:
        assert picture.format == "PNG"
        assert picture.size == (1400, 1000)
        assert len(picture.convert("L").getcolors()) > 50


def test_picture_of_nothing(folder):
    torch.save({"a.weight": torch.zeros(1, 1, 3, 3)}, "zero.pt")
    facts = succeed("inspect", "zero.pt:a", *SMALL, "-o", "a.png")
    assert "nothing can be restored" in facts["advice"][0]


def test_picture_is_written_whole_or_not_at_all(folder, monkeypatch):
    def interrupt(file, *_):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("unconv.cli.inspect.draw", interrupt)
    Path("a.png").write_bytes(b"old")
    fail(folder, 130, "inspect", "disk:1", *SMALL, "-o", "a.png", says=("nothing was written",))


# Failures


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("disk:1", "--size", "12x"), 2, ("'12x'", "256x256 or 32x32x32")),
        (("disk:1", "--size", "a"), 2, ("'a'", "whole numbers")),
        (("disk:1", "--size", "-4x4"), 2, ("'-4x4'", "whole numbers")),
        (("disk:1", "--size", "1x2x3x4"), 2, ("1, 2 or 3",)),
        (("disk:1", "--size", "0x4"), 2, ("'0x4'", "at least 1")),
        (("disk:1", "--size", "12"), 2, ("two sizes", "got 1")),
        (("disk:1", "--boundary", "mirror"), 2, ("'mirror'", "zeros, circular, reflect")),
        (("disk:12", *SMALL, "--boundary", "reflect"), 2, ("reflect", "at most 11 samples")),
        (("disk:1", "--stride", 2), 2, ("--stride", "leave them out")),
        (("disk:1", "--size", "200000x200000"), 4, ("GB", "smaller sizes")),
        (("disk:1", *SMALL, "--memory-limit", "0GB"), 4, ("memory_limit",)),
        (("gausian:2",), 2, ("did you mean gaussian:SIGMA?",)),
        (("missing.npy",), 2, ("neither a file",)),
        (("disk:1", "-o", "a.jpg"), 3, ("'a.jpg'", "end it in .png")),
        (("disk:1", "-o", "nowhere/a.png"), 3, ("create it first",)),
        (("disk:1", "-o", "folder.png"), 3, ("is a directory",)),
        (("missing.pt:conv1",), 3, ("missing.pt", "cannot be opened")),
        (("text.pt:conv1",), 3, ("text.pt", "state_dict")),
        (("module.pt:conv1",), 3, ("module.pt", "state_dict")),
        (("list.pt:conv1",), 3, ("holds a list", "state_dict")),
        (("m.pt",), 2, ("m.pt:LAYER", "conv1.weight")),
        (("m.pt:con1",), 2, ("no layer 'con1'", "did you mean conv1.weight")),
        (("m.pt:zzz",), 2, ("it has line.weight", "conv1.weight")),
        (("m.pt:fc",), 2, ("fc.weight", "(3, 4)", "3, 4 or 5 axes")),
        (("flat.pth:fc",), 2, ("holds no weight of 3, 4 or 5 axes",)),
        (("m.pt:bad", *SMALL), 2, ("weight holds 9 NaN",)),
        (("m.pt:whole", *SMALL), 2, ("int64", ".float()")),
        (("m.pt:line",), 2, ("Conv1d", "--size 64", "got 2")),
        (("m.pt:vol", *SMALL), 2, ("Conv3d", "--size 64x64x64")),
        (("m.pt:depth", *SMALL), 2, ("depthwise", "--groups 6")),
        (("m.pt:conv1", *SMALL, "--groups", 3), 2, ("groups=3 must divide",)),
    ],
)
def test_failures(folder, arguments, code, says):
    Path("a.png").write_bytes(b"old")
    fail(folder, code, "inspect", *arguments, says=says)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may do anything")
def test_checkpoint_without_permission(folder):
    Path("m.pt").chmod(0)
    assert run("inspect", "m.pt:conv1").exit_code == 3


def test_nothing_in_a_checkpoint_is_executed(folder):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (Path("touched"),))

    torch.save({"a.weight": Evil()}, "evil.pt")
    fail(folder, 3, "inspect", "evil.pt:a", says=("evil.pt", "tensors alone"))


@pytest.mark.parametrize("name", ["a$x_{$b.npy", "x" * 90 + ".npy"])
def test_title_of_any_name(folder, name):
    np.save(name, np.ones((3, 3)))
    succeed("inspect", name, *SMALL, "-o", "a.png")
