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

from examples.compressive_sensing import pictures as pictures_module
from examples.compressive_sensing.baselines import BASELINES, with_covariance
from examples.compressive_sensing.bound import MATRICES, gains
from examples.compressive_sensing.cli import SHIPPED, app
from examples.compressive_sensing.linear import covariance, lmmse
from examples.compressive_sensing.network import (
    VARIANTS,
    Cell,
    UnrolledNetwork,
    in_blocks,
    in_tiles,
)
from examples.compressive_sensing.pictures import draw_patches, load_all, load_pictures
from examples.compressive_sensing.records import Row
from examples.compressive_sensing.sampling import RATIOS, check_measurements, random_mask
from examples.compressive_sensing.scores import held_out, mean_scores, scores
from examples.compressive_sensing.stock import Stock
from examples.compressive_sensing.table import markdown
from examples.compressive_sensing.training import Model, Run, Settings, train_step

TINY = ("--cells", 1, "--steps", 2, "--batch", 2, "--patch", 8, "--epochs", 1, "--stock", 6)
SMALL = Settings(ratios=(0.3,), epochs=3, steps=2, batch=2, patch=8, cells=2)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def smooth(count: int = 2, side: int = 16) -> torch.Tensor:  # -> (N, 3, side, side)
    t = torch.linspace(0, 1, side)
    phases = torch.arange(3.0 * count).view(count, 3, 1, 1)
    return 0.5 + 0.4 * torch.sin(6 * t[:, None] + 4 * t + phases)


def named(count: int = 2, side: int = 16) -> dict[str, torch.Tensor]:
    return {f"picture {i}": x for i, x in enumerate(smooth(count, side))}


def stock(count: int = 12, black: float = 0.0) -> Stock:
    return Stock.of(named(), named(), (0.3,), count=count, side=8, black=black)


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
    new, L = Cell(VARIANTS[variant], shift=4)(x, torch.zeros_like(x), x, mask)
    assert new.shape == L.shape == x.shape
    network = UnrolledNetwork(variant, cells=2)
    torch.nn.init.normal_(network.cells[0].inverse[-1].weight)
    restored = network(x * mask, mask)
    assert restored.shape == x.shape
    assert torch.equal(restored[mask], x[mask])  # the data are kept
    assert not torch.equal(restored, x * mask)


def test_untrained_it_is_its_start():
    x = torch.rand(2, 3, 8, 9)
    mask = random_mask(x.shape, 0.5, generator())
    assert torch.equal(UnrolledNetwork()(x, mask), x)


def test_cell_is_the_formula_of_its_module():
    torch.manual_seed(0)
    cell = Cell(VARIANTS["unconv"]).double()
    torch.nn.init.normal_(cell.inverse[-1].weight)
    x, L, y = (torch.rand(1, 3, 8, 8, dtype=torch.float64) for _ in range(3))
    mask = torch.rand(1, 3, 8, 8) < 0.5
    v = x + L
    u = torch.empty_like(v)
    for i in range(8):
        for j in range(8):
            around = v[..., max(i - 2, 0) : i + 3, max(j - 2, 0) : j + 3]
            u[..., i, j] = v[..., i, j] - around.mean((2, 3))
    Z = cell.transform(torch.cat([u, mask * u], 1))
    U, S, Vh = torch.linalg.svd(Z[0].flatten(1), full_matrices=False)
    tau = S[0] / (1 + math.exp(3))
    A = cell.inverse(((U * (S - tau).clamp(min=0)) @ Vh).view_as(Z)) + v
    new, dual = cell(x, L, y, mask)
    expected = torch.where(mask, y, A - L)
    torch.testing.assert_close(new, expected)
    torch.testing.assert_close(dual, L + expected - A)


@pytest.mark.parametrize("shift", [0, 4])
@pytest.mark.parametrize("size", [(16, 24), (9, 13), (3, 8)])
def test_blocks_are_each_thresholded_alone(shift, size):
    Z = torch.randn(2, 5, *size, dtype=torch.float64)
    kept = in_blocks(Z, VARIANTS["unconv"], torch.tensor(0.3), shift)
    for top in range(-shift, size[0], 8):
        for left in range(-shift, size[1], 8):
            part = (1, ..., slice(max(top, 0), top + 8), slice(max(left, 0), left + 8))
            U, S, Vh = torch.linalg.svd(Z[part].flatten(1), full_matrices=False)
            expected = (U * (S - 0.3 * S[0]).clamp(min=0)) @ Vh
            torch.testing.assert_close(kept[part].flatten(1), expected)


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


# the linear start


def dense_covariance(table: torch.Tensor, side: int) -> np.ndarray:
    """E[x x'] of all elements of a patch, one by one."""
    where = [(c, i, j) for c in range(3) for i in range(side) for j in range(side)]
    C = [[table[c, d, abs(i - k), abs(j - m)] for d, k, m in where] for c, i, j in where]
    return np.array(C, dtype=float)


def test_start_is_the_conditional_mean():
    table = covariance(named(), 6)
    x = smooth(1, 6)
    mask = random_mask(x.shape, 0.4, generator())
    C, known = dense_covariance(table, 6), mask.flatten().numpy()
    floor = 3e-5 * np.mean([float(table[c, c, 0, 0]) for c in range(3)])
    K = C[np.ix_(known, known)] + floor * np.eye(known.sum())
    expected = C[:, known] @ np.linalg.solve(K, x.flatten().numpy()[known].astype(float))
    restored = lmmse(x.double() * mask, mask, table).flatten().numpy()
    np.testing.assert_allclose(restored[~known], expected[~known], rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(restored[known], x.double().flatten().numpy()[known])


def test_covariance_is_that_of_its_definition():
    x = torch.rand(3, 9, 9, generator=generator())
    table = covariance({"x": x}, 4)  # windows of 9, that is the whole picture
    views = [x.rot90(k, (1, 2)) for k in range(4)]
    views += [v.flip(2) for v in views]
    for c, d, i, j in ((0, 0, 0, 0), (0, 2, 1, 3), (1, 0, 2, 0), (1, 1, 3, 2)):
        pairs = [v[c, : 9 - i, : 9 - j] * v[d, i:, j:] for v in views]
        pairs += [v[d, : 9 - i, : 9 - j] * v[c, i:, j:] for v in views]
        expected = sum(float(p.sum()) for p in pairs) / len(pairs) / 81
        assert float(table[c, d, i, j]) == pytest.approx(expected, rel=1e-5)


def test_covariance_is_positive_semidefinite():
    C = dense_covariance(covariance({"x": torch.rand(3, 9, 12, generator=generator())}, 6), 6)
    assert np.linalg.eigvalsh(C).min() > -1e-6 * np.linalg.eigvalsh(C).max()


def test_start_where_the_covariance_is_singular():
    """Of pictures that are all of one grey, elements are all equal: round-off decides."""
    x = torch.full((1, 3, 12, 12), 0.7)
    mask = random_mask(x.shape, 0.9, generator())
    table = torch.full((3, 3, 12, 12), 0.49)
    torch.testing.assert_close(lmmse(x * mask, mask, table), x, rtol=0, atol=2e-3)


def test_start_of_black_and_of_what_the_table_does_not_reach():
    x = torch.zeros(1, 3, 8, 8)
    mask = random_mask(x.shape, 0.3, generator())
    assert not lmmse(x, mask, covariance({"black": x[0]}, 8)).any()
    with pytest.raises(
        ValueError, match=r"reaches 6 pixels, got a picture of \(8, 8\); restore it"
    ):
        lmmse(x, mask, covariance(named(), 6))


def test_turned_start_is_the_start_of_the_turned_patch():
    drawn = stock()
    batch = drawn.draw(5, generator(3))
    again = lmmse(batch.x * batch.mask, batch.mask, drawn.covariance)
    torch.testing.assert_close(batch.start, again, rtol=0, atol=2e-4)
    assert torch.equal(batch.start[batch.mask], batch.x[batch.mask])


# training


def test_a_step_lowers_the_loss():
    run = Run(Settings(cells=3))
    batch = stock(4)
    losses = [train_step(run.network, run.optimizer, batch).loss for _ in range(20)]
    assert losses[0] < 1  # an error of the start below 50 dB weighs less
    assert losses[-1] < 0.9 * losses[0]


def test_seed_decides():
    runs = []
    for seed in (0, 0, 1):
        run = Run(Settings(ratios=(0.3,), steps=2, batch=2, patch=8, cells=2, seed=seed))
        run.train(stock(), 1)
        runs.append(run)
    assert same(runs[0], runs[1])
    assert runs[0].epochs[0].loss == runs[1].epochs[0].loss
    assert not same(runs[0], runs[2])


def test_resumed_is_straight_through(tmp_path):
    straight, first = Run(SMALL), Run(SMALL)
    straight.train(stock())
    first.train(stock(), 1)
    first.save(tmp_path / "checkpoint.pt")
    torch.rand(7)  # a global state that is different
    resumed = Run.load(tmp_path / "checkpoint.pt")
    resumed.train(stock())
    assert same(straight, resumed)
    assert [e[:6] for e in straight.epochs] == [e[:6] for e in resumed.epochs]  # but for seconds


def test_exported_weights_restore_as_the_run_does(tmp_path):
    run = Run(SMALL)
    run.train(stock())
    run.export(tmp_path / "weights.pt")
    model = Model.load(tmp_path / "weights.pt")
    assert model.settings == run.settings
    x = smooth(1, 13)
    mask = random_mask(x.shape, 0.3, generator())
    torch.testing.assert_close(
        model.restore(x * mask, mask), run.restore(x * mask, mask), rtol=0, atol=1e-3
    )
    with pytest.raises(ValueError, match="holds weights alone"):
        Run.load(tmp_path / "weights.pt")
    with pytest.raises(ValueError, match="not known before training"):
        Run(SMALL).restore(x, mask)


def test_torchs_own_generator_is_left_alone():
    before = torch.get_rng_state()
    run = Run(SMALL)
    run.train(stock(), 1)
    held_out(run.restore, named(), 0.3)
    assert torch.equal(torch.get_rng_state(), before)


def test_learning_rate_rises_and_falls():
    run = Run(Settings(ratios=(0.3,), epochs=30, steps=1, batch=1, patch=8, cells=1))
    rates = []
    for stop in range(1, 31):
        run.train(stock(), stop)
        rates.append(run.optimizer.param_groups[0]["lr"])
    assert rates[0] == pytest.approx(4e-3 / 20)
    assert rates[19] == pytest.approx(4e-3 * (1 + math.cos(math.pi * 19 / 30)) / 2)
    assert 0 < rates[29] < 2e-5


def with_black(variant: str) -> Run:
    settings = Settings(ratios=(0.3,), variant=variant, epochs=1, steps=6, batch=2, patch=8)
    run = Run(settings)
    run.train(stock(black=0.4))
    return run


def test_black_patches_are_finite_with_unconv():
    epoch = with_black("unconv").epochs[0]
    assert 0 < epoch.black_steps < epoch.steps == 6
    assert epoch.bad == 0


def test_black_patches_are_counted_and_left_out_with_plain():
    run = with_black("plain")
    epoch = run.epochs[0]
    assert epoch.bad == epoch.bad_black > 0
    assert all(w.isfinite().all() for w in weights(run))
    state = run.optimizer.state_dict()["state"]
    assert max(int(s["step"]) for s in state.values()) == epoch.steps - epoch.bad


def test_settings_refuse():
    for options, said in (
        ({"variant": "tensorflow"}, "use one of unconv, plain"),
        ({"ratios": (0.1, 0.0)}, "ratio must be above 0"),
        ({"ratios": (math.nan,)}, "the paper has 0.04, 0.1, 0.3, 0.4, 0.5"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"black": 1.0}, "below 1, got 1.0"),
    ):
        with pytest.raises(ValueError, match=said):
            Settings(**options)
    with pytest.raises(ValueError, match="cells must be at least 1, got 0"):
        UnrolledNetwork(cells=0)


# what thresholding can gain


@pytest.mark.parametrize("shape", [(4, 6, 5), (3, 5, 9), (2, 4, 4)])
def test_no_step_on_singular_values_beats_the_oracle(shape):
    X = torch.randn(shape, dtype=torch.float64, generator=generator())
    Z = X + 0.3 * torch.randn(shape, dtype=torch.float64, generator=generator(1))
    found, before = gains(Z, X), (Z - X).square().sum()
    assert found.values >= found.thresholds >= found.threshold
    U, S, Vh = torch.linalg.svd(Z, full_matrices=False)
    steps = [S - t * S[:, :1] for t in (0.01, 0.05, 0.1, 0.3)]
    steps += [0.9 * S, S**2 / (S + 0.1), S + torch.randn(S.shape, generator=generator(2)) / 10]
    for new in steps:
        left = ((U * new.clamp(min=0)[:, None]) @ Vh - X).square().sum()
        assert 10 * math.log10(before / left) <= found.values + 1e-9


def test_gains_are_those_of_the_textbook():
    X = torch.randn(3, 6, 4, dtype=torch.float64, generator=generator())
    Z = X + 0.3 * torch.randn(3, 6, 4, dtype=torch.float64, generator=generator(1))
    U, S, Vh = torch.linalg.svd(Z, full_matrices=False)
    before, best = (Z - X).square().sum(), []
    for t in torch.logspace(-5, -0.3, 60, dtype=torch.float64):
        new = (U * (S - t * S[:, :1]).clamp(min=0)[:, None]) @ Vh
        best.append(10 * math.log10(before / (new - X).square().sum()))
    assert gains(Z, X).threshold == pytest.approx(max(best))
    d = (U * (X @ Vh.mT)).sum(1)
    expected = 10 * math.log10(before / ((U * d[:, None]) @ Vh - X).square().sum())
    assert gains(Z, X).values == pytest.approx(expected)


def test_neighbourhoods_hold_each_pixel_in_its_middle():
    x = torch.arange(2 * 3 * 16 * 8.0).view(2, 3, 16, 8)
    matrices = MATRICES["3 × 3 neighbours × 64 pixels"](x)
    assert matrices.shape == (4, 27, 64)
    assert torch.equal(matrices[1, 9 + 4].view(8, 8), x[0, 1, 8:])


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


@pytest.mark.parametrize("with_sklearn", [True, False])
def test_installed_pictures_need_no_download(monkeypatch, with_sklearn):
    if not with_sklearn:
        monkeypatch.setattr(
            pictures_module, "_is_installed", lambda name: name not in ("china", "flower")
        )
    split = load_pictures()
    assert split.typical.keys() <= split.train.keys()
    assert "china" not in split.train or with_sklearn
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
        Stock.of(named(), named(), (0.3,), count=1, side=32, black=0)


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


@pytest.mark.parametrize("name", with_covariance(torch.zeros(3, 3, 8, 8)))
def test_baselines_keep_the_data(name):
    x = smooth(2, 12)
    mask = random_mask(x.shape, 0.5, generator())
    y = x * mask
    restored = with_covariance(covariance(named(), 8))[name](y, mask)
    assert restored.isfinite().all()
    assert torch.equal(restored[mask], x[mask])
    assert torch.equal(y, x * mask)


def test_better_baselines_are_better():
    restores = with_covariance(covariance(named(2, 24), 8)).values()
    means = [mean_scores(held_out(restore, named(2, 24), 0.5)).psnr for restore in restores]
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
    where = ("--pictures", folder, "--shrink", 1)
    done = command("train", "-o", out, *where, *TINY, "--ratios", "0.2,0.3")
    assert done.exit_code == 0, done.output
    with (out / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(r["epoch"], r["ratio"]) for r in rows] == [
        ("1", ""),
        ("final", "0.2"),
        ("final", "0.3"),
    ]
    assert rows[0].keys() == set(Row._fields)
    assert float(rows[1]["psnr"]) > 0
    with Image.open(out / "picture-0.2.png") as picture:
        assert picture.width > 500
    checkpoint = out / "checkpoint.pt"
    both = (checkpoint, out / "weights.pt", "-o", again, "--ratios", "0.3")
    done = command("test", *both, *where)
    assert done.exit_code == 0, done.output
    assert "interpolation" in done.output
    with (again / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [r["variant"] for r in rows] == [*with_covariance(torch.zeros(1)), "unconv", "unconv"]
    assert float(rows[-1]["psnr"]) == pytest.approx(float(rows[-2]["psnr"]), abs=0.05)
    done = command("train", "--resume", checkpoint, "-o", again, *where)
    assert done.exit_code == 0, done.output
    assert "network" in done.output


def test_shipped_weights(folder, tmp_path):
    assert SHIPPED
    for path in SHIPPED:
        assert path.stat().st_size < 300_000
        model = Model.load(path)
        assert path.name == f"weights-{model.settings.variant}.pt"
        assert set(model.settings.ratios) == set(RATIOS)
    done = command("test", "-o", tmp_path, "--pictures", folder, "--shrink", 1, "--ratios", "0.3")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "picture-0.3.png").exists()


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_weights_gain_on_their_start(path):
    """On a corner of a photograph that is held out."""
    model, x = Model.load(path), {"corner": load_all()["astronaut"][:, 40:88, 80:128]}
    best_linear = with_covariance(model.covariance)["best linear"]
    network = mean_scores(held_out(model.restore, x, 0.3)).psnr
    assert network > 0.3 + mean_scores(held_out(best_linear, x, 0.3)).psnr


@pytest.mark.slow
@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_weights_beat_interpolation(path):
    """On the held-out photographs, cut to a corner: what the page claims by 1.5 dB."""
    model, x = Model.load(path), {n: p[:, :96, :96] for n, p in load_all().items()}
    for ratio in RATIOS[1:]:
        network = mean_scores(held_out(model.restore, x, ratio)).psnr
        assert network > 1.5 + mean_scores(held_out(BASELINES["interpolation"], x, ratio)).psnr


def test_bound(folder, tmp_path):
    done = command("bound", "--pictures", folder, "--shrink", 1, "--ratios", "0.3", "--patch", 8)
    assert done.exit_code == 0, done.output
    assert "rows × columns" in done.output


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_table(folder, tmp_path, processes):
    options = ("--ratios", "0.3", "--variants", "unconv,plain", "--processes", processes)
    where = ("-o", tmp_path / "out", "--pictures", folder, "--shrink", 1)
    done = command("table", *options, *TINY, *where)
    assert done.exit_code == 0, done.output
    text = (tmp_path / "out" / "table.md").read_text()
    assert text in done.stdout
    for name in (*with_covariance(torch.zeros(1)), "unconv", "plain"):
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
        (("train", "--ratios", "2"), "ratio must be above 0 and at most 1, got 2.0"),
        (("train", "--pictures", empty), "holds no pictures"),
        (("train", "--pictures", folder, "--patch", 99), "do not fit into the picture"),
        (("train", "--resume", checkpoint, "--seed", 3), "has seed=0, got"),
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
