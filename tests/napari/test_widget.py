"""The dock widget in a viewer without a screen; see CONTRIBUTING.md for what it needs."""

from __future__ import annotations

from importlib import resources

import numpy as np
import pytest

pytest.importorskip("napari")
pytest.importorskip("pytestqt")

from napari.components import ViewerModel

from unconv.napari.widget import Deconvolve

from .test_deconvolution import KERNEL, plane

pytestmark = pytest.mark.filterwarnings("ignore")  # of Qt and of napari's own packages

PATIENCE = 60_000  # ms


@pytest.fixture
def viewer():
    """Layers and their events without the canvas, which takes OpenGL."""
    return ViewerModel()


@pytest.fixture
def widget(viewer, qtbot):
    viewer.add_image(
        plane().numpy(), name="cells", scale=(0.2, 0.1), translate=(3, 4), colormap="green"
    )
    widget = Deconvolve(viewer)
    qtbot.addWidget(widget.native)
    return widget


def run(widget, qtbot) -> None:
    widget.run.native.click()
    assert not widget.run.enabled
    qtbot.waitUntil(lambda: widget.run.enabled, timeout=PATIENCE)


def test_the_manifest_names_the_widget():
    from npe2 import PluginManifest

    file = resources.files("unconv.napari") / "napari.yaml"
    manifest = PluginManifest.from_file(file)
    assert manifest.name == "unconv"
    command = manifest.contributions.commands[0]
    assert manifest.contributions.widgets[0].command == command.id
    module, name = str(command.python_name).split(":")
    assert (module, name) == (Deconvolve.__module__, Deconvolve.__name__)


def test_a_new_layer_lies_where_the_first_one_lies(viewer, widget, qtbot):
    widget.kind.value, widget.numbers["disk"][0].value, widget.prior.value = "disk", 1.5, "wiener"
    run(widget, qtbot)
    first, new = viewer.layers
    assert new.name == "cells deconvolved"
    assert np.array_equal(new.scale, first.scale)
    assert np.array_equal(new.translate, first.translate)
    assert new.colormap.name == "green"
    assert new.data.std() > first.data.std()
    told = new.metadata["unconv"]
    assert told["image"] == "cells"
    assert np.array_equal(told["psf"], KERNEL.numpy())
    assert widget.status.value.startswith("prior wiener; ")
    assert not widget.cancel.visible


def test_a_psf_of_another_layer(viewer, widget, qtbot):
    viewer.add_image(7 * KERNEL.numpy(), name="bead")
    widget.kind.value, widget.prior.value = "layer", "wiener"
    widget.psf_layer.value = viewer.layers["cells"]
    widget.image.value = viewer.layers["cells"]
    widget.run.native.click()
    assert "another layer" in widget.status.value
    widget.psf_layer.value = viewer.layers["bead"]
    run(widget, qtbot)
    np.testing.assert_allclose(viewer.layers[-1].metadata["unconv"]["psf"], KERNEL.numpy())


def test_a_stack(viewer, widget, qtbot):
    stack = np.stack([plane(seed).numpy() for seed in range(2)])
    widget.image.value = viewer.add_image(stack, name="stack", scale=(5, 0.1, 0.1))
    widget.sigma_z.value, widget.numbers["gaussian"][0].value = 0.0, 1.0
    widget.prior.value = "wiener"
    run(widget, qtbot)
    assert viewer.layers[-1].data.shape == stack.shape
    widget.sigma_z.value = 0.5
    assert widget.wanted().spacing == (50.0, 1.0, 1.0)
    run(widget, qtbot)
    assert "volumes take" in widget.status.value
    assert len(viewer.layers) == 3


def test_colours(viewer, widget, qtbot):
    colours = (255 * np.stack([plane(seed).numpy() for seed in range(3)], -1)).clip(0, 255)
    widget.image.value = viewer.add_image(colours.astype(np.uint8), rgb=True, name="photo")
    widget.prior.value = "wiener"
    run(widget, qtbot)
    new = viewer.layers[-1]
    assert new.rgb
    assert 0 <= new.data.min() <= new.data.max() <= 1


def test_cancelled(viewer, widget, qtbot):
    widget.prior.value = "dct"
    widget.run.native.click()
    assert widget.cancel.enabled
    widget.cancel.native.click()
    qtbot.waitUntil(lambda: widget.run.enabled, timeout=PATIENCE)
    assert widget.status.value == "cancelled"
    assert len(viewer.layers) == 1


def test_what_cannot_be_done_is_told(viewer, widget, qtbot):
    widget.noise.value, widget.prior.value = "poisson", "wiener"
    run(widget, qtbot)
    assert "is for Gaussian noise" in widget.status.value
    widget.sigma_z.value = 1.0
    widget.run.native.click()
    assert widget.status.value == "the psf has 3 axes and the image 2."
    levels = [np.ones((64, 64)), np.ones((32, 32))]
    widget.image.value = viewer.add_image(levels, multiscale=True, name="pyramid")
    widget.sigma_z.value = 0.0
    widget.run.native.click()
    assert "pyramid has several resolutions" in widget.status.value
    viewer.layers.clear()
    widget.run.native.click()
    assert "no image" in widget.status.value


def test_a_strength_counts_where_the_dock_is_hidden_too(widget):
    widget.prior.value, widget.auto.value, widget.strength.value = "tv", False, "0.02"
    assert widget.wanted().strength == 0.02
    widget.strength.value = "strong"
    widget.run.native.click()
    assert widget.status.value == "the strength 'strong' must be a number above 0."
    widget.prior.value = "wiener"
    assert widget.wanted().strength is None


def test_only_what_counts_is_shown(widget):
    widget.native.show()  # of the platform without a screen
    for kind in ("gaussian", "disk", "motion", "layer"):
        widget.kind.value = kind
        assert widget.numbers["disk"][0].visible == (kind == "disk")
        assert widget.psf_layer.visible == (kind == "layer")
    widget.prior.value = "tv"
    assert widget.auto.visible
    assert not widget.strength.visible
    widget.auto.value = False
    assert widget.strength.visible
