"""The compressive sensing example: what it promises, on problems of a second."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("typer")
pytest.importorskip("skimage")
pytest.importorskip("matplotlib")

from PIL import Image
from typer.testing import CliRunner

from examples.compressive_sensing.baselines import BASELINES
from examples.compressive_sensing.cli import app
from examples.compressive_sensing.network import VARIANTS, Cell, UnrolledNetwork, in_tiles
from examples.compressive_sensing.pictures import draw_patches, load_all, load_pictures
from examples.compressive_sensing.records import Row
from examples.compressive_sensing.sampling import RATIOS, check_measurements, random_mask
from examples.compressive_sensing.scores import held_out, mean_scores, scores
from examples.compressive_sensing.table import markdown
from examples.compressive_sensing.training import Run, Settings, train_step

TINY = ("--cells", "1", "--steps", "2", "--batch", "2", "--patch", "8", "--epochs", "1")
SMALL = Settings(ratio=0.3, steps=2, batch=2, patch=8, cells=2)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def smooth(count: int = 2, side: int = 16) -> torch.Tensor:  # -> (N, 3, side, side)
    t = torch.linspace(0, 1, side)
    phases = torch.arange(3.0 * count).view(count, 3, 1, 1)
    return 0.5 + 0.4 * torch.sin(6 * t[:, None] + 4 * t + phases)


def named(count: int = 2, side: int = 16) -> dict[str, torch.Tensor]:
    return {f"picture {i}": x for i, x in enumerate(smooth(count, side))}


def weights(run: Run) -> list[torch.Tensor]:
    return [p.detach() for p in run.network.parameters()]


def same(first: Run, second: Run) -> bool:
    return all(map(torch.equal, weights(first), weights(second)))


@pytest.fixture
def folder(tmp_path):
    """Three colour pictures and one file that is none."""
    path = tmp_path / "pictures"
    path.mkdir()
    for number, x in enumerate(smooth(3, 24)):
        pixels = (255 * x).permute(1, 2, 0).byte().numpy()
        Image.fromarray(pixels).save(path / f"{number}.png")
    (path / "notes.txt").write_text("no picture")
    return path


def command(*arguments: object):
    return CliRunner().invoke(app, [str(a) for a in arguments])


# the network


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("size", [(8, 8), (5, 9), (12, 4)])
def test_shapes(variant, size):
    x = torch.rand(2, 3, *size)
    mask = random_mask(x.shape, 0.5, generator())
    new, L = Cell(VARIANTS[variant])(x, torch.zeros_like(x), x, mask)
    assert new.shape == L.shape == x.shape
    restored = UnrolledNetwork(variant, cells=2)(x * mask, mask)
    assert restored.shape == x.shape
    assert torch.equal(restored[mask], x[mask])  # the data are kept


def test_cell_is_the_formula_of_its_module():
    torch.manual_seed(0)
    cell = Cell(VARIANTS["unconv"]).double()
    x, L, y = (torch.rand(1, 3, 6, 7, dtype=torch.float64) for _ in range(3))
    mask = torch.rand(1, 3, 6, 7) < 0.5
    U, S, Vh = torch.linalg.svd(cell.transform(x + L), full_matrices=False)
    tau = S[..., :1] / (1 + math.exp(2))
    A = cell.inverse((U * (S - tau).clamp(min=0)[..., None, :]) @ Vh) + x + L
    new, dual = cell(x, L, y, mask)
    expected = torch.where(mask, y, A - L)
    torch.testing.assert_close(new, expected)
    torch.testing.assert_close(dual, L + expected - A)


def test_variants_agree_forward_and_where_no_values_tie_backward():
    gradients = []
    A = torch.randn(4, 6, 5, dtype=torch.float64)
    tau = 0.3 * torch.linalg.svdvals(A)[..., 0]
    for name in ("unconv", "plain", "zero-filled", "clipped", "svd-inv"):
        B = A.clone().requires_grad_()
        (VARIANTS[name](B, tau) ** 2).sum().backward()
        gradients.append(B.grad)
    for gradient in gradients[1:]:
        torch.testing.assert_close(gradient, gradients[0])


def test_tiles_of_a_network_that_acts_on_each_element():
    class Halve(nn.Module):
        def forward(self, y, mask):
            assert max(y.shape[2:]) <= 8
            return y / 2

    for size in ((20, 13), (8, 8), (3, 30), (9, 16)):
        y = torch.rand(2, 3, *size)
        torch.testing.assert_close(in_tiles(Halve(), y, torch.ones_like(y) > 0, 8), y / 2)


# training


def test_a_step_lowers_the_loss():
    run = Run(Settings(cells=3))
    x = smooth()
    mask = random_mask(x.shape, 0.3, generator())
    losses = [train_step(run.network, run.optimizer, x, mask).loss for _ in range(12)]
    assert losses[1] < losses[0]
    assert losses[-1] < 0.8 * losses[0]


def test_seed_decides():
    runs = []
    for seed in (0, 0, 1):
        run = Run(Settings(ratio=0.3, steps=2, batch=2, patch=8, cells=2, seed=seed))
        run.train(named(), 1)
        runs.append(run)
    assert same(runs[0], runs[1])
    assert runs[0].epochs[0].loss == runs[1].epochs[0].loss
    assert not same(runs[0], runs[2])


def test_resumed_is_straight_through(tmp_path):
    straight, first = Run(SMALL), Run(SMALL)
    straight.train(named(), 3)
    first.train(named(), 1)
    first.save(tmp_path / "checkpoint.pt")
    torch.rand(7)  # a global state that is different
    resumed = Run.load(tmp_path / "checkpoint.pt")
    resumed.train(named(), 3)
    assert same(straight, resumed)
    assert [e[:6] for e in straight.epochs] == [e[:6] for e in resumed.epochs]  # but for seconds


def test_torchs_own_generator_is_left_alone():
    before = torch.get_rng_state()
    run = Run(SMALL)
    run.train(named(), 1)
    held_out(run.network, named(), 0.3)
    assert torch.equal(torch.get_rng_state(), before)


def test_learning_rate_falls():
    run = Run(SMALL)
    run.train(named(), 3)
    assert run.optimizer.param_groups[0]["lr"] == pytest.approx(1e-3 * 0.95**2)


def with_black(variant: str) -> Run:
    settings = Settings(ratio=0.3, variant=variant, steps=6, batch=2, patch=8, cells=2, black=0.4)
    run = Run(settings)
    run.train(named(), 1)
    return run


def test_black_patches_are_finite_with_unconv():
    epoch = with_black("unconv").epochs[0]
    assert 0 < epoch.black_steps < epoch.steps == 6
    assert epoch.bad == 0


def test_black_patches_are_counted_and_left_out_with_plain():
    run = with_black("plain")
    epoch = run.epochs[0]
    assert epoch.bad == epoch.bad_black == epoch.black_steps > 0
    assert all(w.isfinite().all() for w in weights(run))
    state = run.optimizer.state_dict()["state"]
    assert state[0]["step"] == epoch.steps - epoch.bad


def test_a_step_that_is_not_finite_changes_nothing():
    run = Run(Settings(variant="plain", cells=2))
    before = [w.clone() for w in weights(run)]
    x = torch.zeros(1, 3, 8, 8)
    assert not train_step(run.network, run.optimizer, x, x == 0).finite
    assert all(map(torch.equal, before, weights(run)))


def test_settings_refuse():
    for options, said in (
        ({"variant": "tensorflow"}, "use one of unconv, plain"),
        ({"ratio": 0.0}, "ratio must be above 0"),
        ({"ratio": math.nan}, "the paper has 0.04, 0.1, 0.3, 0.4, 0.5"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"black": 1.0}, "below 1, got 1.0"),
    ):
        with pytest.raises(ValueError, match=said):
            Settings(**options)
    with pytest.raises(ValueError, match="cells must be at least 1, got 0"):
        UnrolledNetwork(cells=0)


# masks and measurements


@pytest.mark.parametrize("ratio", RATIOS)
def test_mask_has_its_ratio_in_every_picture(ratio):
    mask = random_mask((3, 3, 20, 30), ratio, generator())
    assert mask.dtype == torch.bool
    assert mask.flatten(1).sum(1).tolist() == [round(ratio * 1800)] * 3
    assert not torch.equal(mask[0], mask[1])
    assert not torch.equal(mask[0, 0], mask[0, 1])  # elements are drawn, not pixels


def test_a_mask_that_would_sample_nothing():
    with pytest.raises(ValueError, match=r"samples nothing of 48 elements; use at least 0\.021"):
        random_mask((1, 3, 4, 4), 0.01, generator())


GOOD = torch.rand(1, 3, 4, 5)


@pytest.mark.parametrize(
    ("y", "mask", "error", "said"),
    [
        (GOOD * math.nan, GOOD > -1, ValueError, r"y holds 60 NaN .*; mend the picture"),
        (GOOD / 0, GOOD > -1, ValueError, r"infinite values, the first at index \(0, 0, 0, 0\)"),
        (GOOD[:, :, :0], GOOD[:, :, :0] > 0, ValueError, r"pixels, got shape \(1, 3, 0, 5\)"),
        (GOOD.flatten(), GOOD.flatten() > 0, ValueError, r"\(N, 3, H, W\), got shape \(60,\)"),
        (GOOD[:, :1], GOOD[:, :1] > 0, ValueError, "a grey one with its plane three times"),
        (GOOD.int(), GOOD > 0, TypeError, r"got torch.int32; convert it with .float\(\)"),
        (GOOD.cfloat(), GOOD > 0, TypeError, "y must be float32 or float64"),
        (GOOD.numpy(), GOOD > 0, TypeError, "y must be a torch.Tensor, got ndarray"),
        (GOOD, GOOD, TypeError, "bool, got torch.float32; use mask != 0"),
        (GOOD, None, TypeError, "bool, got NoneType"),
        (GOOD, GOOD[..., :4] > 0, ValueError, r"\(1, 3, 4, 5\), got \(1, 3, 4, 4\)"),
        (GOOD, GOOD < 0, ValueError, "sample something of every picture"),
    ],
)
def test_measurements_refuse(y, mask, error, said):
    with pytest.raises(error, match=said):
        check_measurements(y, mask)
    with pytest.raises(error, match=said):
        UnrolledNetwork(cells=1)(y, mask)


# pictures and scores


def test_folder_is_split_by_name(folder):
    split = load_pictures(folder, shrink=1)
    assert list(split.train) == ["0.png", "1.png"]
    assert list(split.test) == ["2.png"]
    assert split.test["2.png"].shape == (3, 24, 24)
    assert list(load_all(folder, 2)) == ["0.png", "1.png", "2.png"]


def test_shrinking_averages(folder):
    x = load_all(folder, 1)["0.png"]
    half = load_all(folder, 2)["0.png"]
    torch.testing.assert_close(half[:, 0, 0], x[:, :2, :2].mean((1, 2)))


def test_grey_picture_has_three_planes(folder):
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(folder / "grey.png")
    x = load_all(folder, 1)["grey.png"]
    assert x.shape == (3, 8, 8)
    assert torch.equal(x[0], x[2])


def test_installed_pictures_need_no_download():
    split = load_pictures()
    assert not split.train.keys() & split.test.keys()
    for x in (*split.train.values(), *split.test.values()):
        assert x.shape[0] == 3
        assert x.dtype == torch.float32
        assert 0 <= x.min() < x.max() <= 1


def test_folders_refuse(folder, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match=r"holds no pictures; put files ending in \.jpeg"):
        load_pictures(empty)
    with pytest.raises(ValueError, match="is no folder"):
        load_pictures(folder / "0.png")
    with pytest.raises(ValueError, match="shrink must be at least 1, got 0"):
        load_pictures(folder, shrink=0)
    with pytest.raises(ValueError, match="at least 7 pixels after averaging over blocks of 4"):
        load_pictures(folder, shrink=4)
    np.save(folder / "loud.npy", np.full((8, 8), 2.0))
    with pytest.raises(ValueError, match=r"'loud.npy' must have values in \[0, 1\], got 2 to 2"):
        load_pictures(folder)
    np.save(folder / "loud.npy", np.full((8, 8), math.nan))
    with pytest.raises(ValueError, match="NaN"):
        load_pictures(folder)


def test_one_picture_cannot_be_held_out(folder):
    for name in ("1.png", "2.png"):
        (folder / name).unlink()
    with pytest.raises(ValueError, match=r"got only '0\.png'; put a second one"):
        load_pictures(folder)


def test_patches_come_from_everywhere_and_must_fit():
    picture = torch.arange(3 * 5 * 6).float().view(3, 5, 6)
    patches = draw_patches({"a": picture}, 200, 4, generator())
    assert patches.shape == (200, 3, 4, 4)
    assert set(patches[:, 0, 0, 0].tolist()) == {0, 1, 2, 6, 7, 8}
    with pytest.raises(ValueError, match=r"patches of 32 × 32 do not fit into .*'picture 0'"):
        Run(Settings()).train(named(), 1)


def test_scores_have_the_data_range_of_the_pictures():
    x = smooth(1)[0]
    noisy = x + 0.1 * torch.randn(x.shape, generator=generator())
    by_hand = -10 * math.log10(float((noisy - x).square().mean()))
    assert scores(x, noisy).psnr == pytest.approx(by_hand, rel=1e-5)
    from skimage.metrics import structural_similarity

    bytes_too = structural_similarity(
        255 * x.double().numpy(), 255 * noisy.double().numpy(), data_range=255, channel_axis=0
    )
    assert scores(x, noisy).ssim == pytest.approx(bytes_too, rel=1e-9)


@pytest.mark.parametrize("name", BASELINES)
def test_baselines_keep_the_data(name):
    x = smooth(2, 12)
    mask = random_mask(x.shape, 0.5, generator())
    y = x * mask
    restored = BASELINES[name](y, mask)
    assert restored.isfinite().all()
    assert torch.equal(restored[mask], x[mask])
    assert torch.equal(y, x * mask)


def test_better_baselines_are_better():
    means = [
        mean_scores(held_out(restore, named(2, 24), 0.5)).psnr for restore in BASELINES.values()
    ]
    assert means == sorted(means)


def test_interpolation_with_hardly_a_sample():
    y, mask = torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8) > 0
    y[0, 0, 2, 3], mask[0, 0, 2, 3] = 0.5, True
    restored = BASELINES["interpolation"](y, mask)
    assert torch.equal(restored[0, 0], torch.full((8, 8), 0.5))
    assert not restored[0, 1:].any()


# commands


def test_train_then_resume_then_test(folder, tmp_path):
    out, again = tmp_path / "out", tmp_path / "again"
    done = command("train", "-o", out, "--pictures", folder, "--shrink", 1, *TINY)
    assert done.exit_code == 0, done.output
    with (out / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [r["epoch"] for r in rows] == ["1", "final"]
    assert rows[0].keys() == set(Row._fields)
    assert float(rows[1]["psnr"]) > 0
    with Image.open(out / "picture.png") as picture:
        assert picture.width > 500
    checkpoint = out / "checkpoint.pt"
    done = command("test", checkpoint, "-o", again, "--pictures", folder, "--shrink", 1)
    assert done.exit_code == 0, done.output
    assert "interpolation" in done.output
    where = ("-o", again, "--pictures", folder, "--shrink", 1)
    done = command("train", "--resume", checkpoint, "--epochs", 2, *where)
    assert done.exit_code == 0, done.output
    assert len(Run.load(again / "checkpoint.pt").epochs) == 2


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_table(folder, tmp_path, processes):
    options = ("--ratios", "0.3", "--variants", "unconv,plain", "--processes", processes)
    where = ("-o", tmp_path / "out", "--pictures", folder, "--shrink", 1)
    done = command("table", *options, *TINY, *where)
    assert done.exit_code == 0, done.output
    text = (tmp_path / "out" / "table.md").read_text()
    assert text in done.stdout
    for name in (*BASELINES, "unconv", "plain"):
        assert f"| {name} |" in text
    done = command("table", *options, *TINY, *where, "--black", 0.5)
    assert done.exit_code == 2
    assert "is from a run with other options" in done.stderr


def test_markdown_pairs_seeds():
    rows = [
        Row(0.1, variant, seed, "final", 0.1, 10, 4, bad, bad, 0.05, psnr, 0.5)
        for variant, bad, base in (("unconv", 0, 20.0), ("plain", 4, 19.5))
        for seed, psnr in enumerate((base, base + 1))
    ]
    text = markdown(rows)
    assert "| unconv | 20.50 ± 0.71 / 0.500 ± 0.000 |" in text
    assert "| unconv | 50 | 0 of 20 | 0 of 8 | 0 of 12 |  |" in text
    assert "| plain | 50 | 8 of 20 | 8 of 8 | 0 of 12 | -0.50 (-0.50 to -0.50) |" in text


def test_commands_refuse_in_one_sentence(folder, tmp_path):
    notes, empty, checkpoint = folder / "notes.txt", tmp_path / "empty", tmp_path / "checkpoint.pt"
    empty.mkdir()
    Run(Settings(cells=1)).save(checkpoint)
    for arguments, said in (
        (("train", "--variant", "best"), "variant 'best' is not known; use one of unconv"),
        (("train", "--ratio", "2"), "ratio must be above 0 and at most 1, got 2.0"),
        (("train", "--pictures", empty), "holds no pictures"),
        (("train", "--pictures", folder, "--patch", 99), "do not fit into the picture"),
        (("train", "--resume", checkpoint, "--ratio", 0.3), "has ratio=0.1, got"),
        (("train", "--resume", tmp_path / "none.pt"), "there is no checkpoint"),
        (("test", notes), "cannot be read as a checkpoint"),
        (("table", "--ratios", "few"), "expected ratios such as 0.1,0.3, got 'few'"),
        (("table", "--variants", "unconv,best"), "variant 'best' is not known"),
    ):
        done = command(*arguments, *(("-o", tmp_path / "o")))
        assert done.exit_code == 2, arguments
        assert done.stderr.startswith("error: ")
        assert said in done.stderr
        assert done.stderr.count("\n") == 1
