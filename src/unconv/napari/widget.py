"""The dock widget "Deconvolve (unconv)": an image layer, a psf, a prior; a new layer."""

from __future__ import annotations

from typing import Any

import napari
import numpy as np
from magicgui.widgets import (
    CheckBox,
    ComboBox,
    Container,
    FloatSpinBox,
    Label,
    LineEdit,
    ProgressBar,
    PushButton,
)
from napari.layers import Image
from napari.qt.threading import FunctionWorker, create_worker
from qtpy.QtCore import QObject, Signal

from ..operators.linear_operator import DEFAULT_MEMORY_LIMIT
from ..psf.families import FAMILIES, Parameter
from .deconvolution import (
    NOISE_MODELS,
    PRIORS,
    Wanted,
    deconvolve,
    psf_of_array,
    psf_of_family,
)

_KEPT = ("scale", "translate", "rotate", "shear", "affine", "axis_labels", "units", "gamma")
"""What a new layer takes from the old one, as far as this napari has it."""

_GIGABYTES = round(DEFAULT_MEMORY_LIMIT / 1e9, 1)
_WITH_STRENGTH = ("tv", "sparse", "hessian")

LAYER = "layer"
"""The psf that another layer holds."""


class CancelledError(Exception):
    """Somebody pressed Cancel."""


class _Told(QObject):
    """Steps of a worker, heard in the thread of the window."""

    step = Signal(str)


class Deconvolve(Container):
    """Deconvolve an image layer into a new one, in the background.

    Parameters
    ----------
    napari_viewer : the viewer, whose layers it takes and to which it adds
    """

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        self._viewer = napari_viewer
        self._worker: FunctionWorker | None = None
        self._told = _Told()
        self._told.step.connect(self._show)
        self.image = ComboBox(label="image", choices=self._images)
        self.kind = ComboBox(label="psf", choices=(*FAMILIES, LAYER))
        self.psf_layer = ComboBox(label="psf layer", choices=self._images)
        self.numbers = {name: tuple(map(_of, f.parameters)) for name, f in FAMILIES.items()}
        self.sigma_z = _number("sigma z", 0.0, 0.0, "slices; 0 deconvolves every plane by itself")
        self.noise = ComboBox(label="noise", choices=NOISE_MODELS)
        self.noise.tooltip = "poisson where the values are counts of photons"
        self.background = _number("background", 0.0, 0.0, "mean count without any light")
        self.prior = ComboBox(label="prior", choices=PRIORS)
        self.auto = CheckBox(label="choose strength", value=True)
        self.strength = LineEdit(label="strength", value="0.001")
        self.strength.tooltip = "for an image whose largest value is 1; for counts as they are"
        self.memory = _number("memory, GB", _GIGABYTES, 0.1, "that one plane or volume may take")
        self.run = PushButton(text="Deconvolve")
        self.cancel = PushButton(text="Cancel")
        self.progress = ProgressBar(min=0, max=0)  # without an end
        self.status = Label(value="")
        self.status.native.setWordWrap(True)
        last = [self.run, self.cancel, self.progress, self.status]
        super().__init__()
        self.extend([*self._fields(), *last])  # which gives all labels one width
        for choice in (self.kind, self.noise, self.prior, self.auto):
            choice.changed.connect(self._show_fields)
        self.run.changed.connect(self._begin)
        self.cancel.changed.connect(self._stop)
        for change in ("inserted", "removed", "reordered"):
            getattr(napari_viewer.layers.events, change).connect(self.reset_choices)
        self._show_fields()
        self._busy(False)

    def _images(self, _: object = None) -> list[Image]:
        """The image layers of the viewer, the selected one first."""
        images = [layer for layer in self._viewer.layers if isinstance(layer, Image)]
        return sorted(images, key=lambda layer: layer is not self._viewer.layers.selection.active)

    def _fields(self) -> list[Any]:
        return [
            self.image,
            self.kind,
            self.psf_layer,
            *(field for fields in self.numbers.values() for field in fields),
            self.sigma_z,
            self.noise,
            self.background,
            self.prior,
            self.auto,
            self.strength,
            self.memory,
        ]

    def _show_fields(self) -> None:
        """Only what counts for the choice."""
        kind = self.kind.value
        self.psf_layer.visible = kind == LAYER
        for name, fields in self.numbers.items():
            for field in fields:
                field.visible = kind == name
        self.sigma_z.visible = kind == "gaussian"
        self.background.visible = self.noise.value == "poisson"
        self.auto.visible = has_strength = self.prior.value in _WITH_STRENGTH
        self.strength.visible = has_strength and not self.auto.value

    def _busy(self, busy: bool) -> None:
        self.run.enabled = not busy
        self.cancel.visible = self.progress.visible = busy

    def _show(self, sentence: str) -> None:
        self.status.value = sentence

    def wanted(self) -> Wanted:
        """What was chosen, checked; a ValueError says what is wrong."""
        kind, layer = self.kind.value, self.image.value
        if layer is None:
            raise ValueError("there is no image; open one.")
        if kind == LAYER:
            if self.psf_layer.value is None or self.psf_layer.value is layer:
                raise ValueError("choose another layer for the psf than for the image.")
            psf = psf_of_array(np.asarray(self.psf_layer.value.data))
        else:
            numbers = tuple(field.value for field in self.numbers[kind])
            psf = psf_of_family(kind, numbers, self.sigma_z.value)
        if len(layer.scale) < psf.ndim:
            raise ValueError(f"the psf has {psf.ndim} axes and the image {len(layer.scale)}.")
        scale = [abs(float(s)) for s in layer.scale[-psf.ndim :]]
        spacing = tuple(s / min(scale) for s in scale)
        automatic = self.auto.value or self.prior.value not in _WITH_STRENGTH
        return Wanted(
            psf=psf,
            prior=self.prior.value,
            noise_model=self.noise.value,
            strength=None if automatic else _strength(self.strength.value),
            background=self.background.value if self.noise.value == "poisson" else 0.0,
            spacing=spacing,
            memory_limit=1e9 * self.memory.value,
        )

    def _begin(self) -> None:
        layer = self.image.value
        try:
            wanted = self.wanted()
            if layer.multiscale:
                raise ValueError(f"{layer.name} has several resolutions; choose a layer of one.")
        except (ValueError, TypeError) as error:
            self._show(str(error))
            return
        data, rgb = layer.data, bool(layer.rgb)

        def say(step: str) -> None:
            if worker.abort_requested:
                raise CancelledError
            self._told.step.emit(step)

        def work() -> tuple[Any, list[str]]:
            try:
                return deconvolve(np.asarray(data), wanted, say, rgb=rgb)
            except CancelledError:
                return None, ["cancelled"]
            except (ValueError, TypeError, NotImplementedError) as error:
                return None, [str(error)]

        def finish() -> None:
            self._busy(False)
            if worker.abort_requested:  # what it returned is not told then
                self._show("cancelled")

        worker = self._worker = create_worker(work)
        worker.returned.connect(lambda found: self._end(layer, wanted, *found))
        worker.finished.connect(finish)
        self._busy(True)
        self._show("reading the image")
        worker.start()

    def _end(self, layer: Image, wanted: Wanted, found: Any, said: list[str]) -> None:
        """Show what was found in a layer that lies where the first one lies."""
        self._show("; ".join(said))
        if found is None:
            return
        settings = {name: getattr(layer, name) for name in _KEPT if hasattr(layer, name)}
        told = {"image": layer.name, "psf": wanted.psf.numpy(), "said": said}
        if not layer.rgb:
            settings |= {"colormap": layer.colormap, "contrast_limits": layer.contrast_limits}
        else:  # which are shown from 0 to 1
            found = np.clip(found / _white(layer.data.dtype), 0, 1)
        self._viewer.add_image(
            found,
            name=f"{layer.name} deconvolved",
            rgb=bool(layer.rgb),
            metadata={"unconv": told},
            **settings,
        )

    def _stop(self) -> None:
        if self._worker is not None:
            self._show("cancelling")
            self._worker.quit()


_UNITS = {"px": "pixels", "°": "degrees", "": ""}


def _of(parameter: Parameter) -> FloatSpinBox:
    """A field for a number of a family."""
    p = parameter
    tooltip = ", ".join(filter(None, (_UNITS[p.unit], p.meaning)))
    return _number(p.name, p.start, -180.0 if p.is_angle else p.low, tooltip)


def _number(label: str, value: float, least: float, tooltip: str) -> FloatSpinBox:
    return FloatSpinBox(label=label, value=value, min=least, max=1e6, step=0.1, tooltip=tooltip)


def _strength(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"the strength {text!r} must be a number above 0.") from None


def _white(dtype: np.dtype[Any]) -> float:
    """What colours of a dtype are shown as white."""
    return float(np.iinfo(dtype).max) if dtype.kind in "ui" else 1.0
