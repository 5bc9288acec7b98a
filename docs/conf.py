"""Sphinx configuration; builds without a network and without warnings."""

from __future__ import annotations

import re
from importlib.metadata import version as installed_version

project = "unconv"
author = "The unconv developers"
project_copyright = "The unconv developers"
version = release = installed_version("unconv")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "gallery"]  # the sources of auto_gallery
html_theme = "furo"
html_title = f"unconv {release}"
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]
html_static_path = ["_static"]
html_css_files = ["custom.css"]
default_role = "code"

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # shapes and meanings stand in the docstrings
napoleon_use_rtype = False
napoleon_use_param = False  # `a, b : text` is one item
napoleon_use_ivar = True

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

SECTIONS = ["photographs", "microscopy", "astronomy", "networks", "mathematics"]
sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "auto_gallery",
    "subsection_order": [f"gallery/{section}" for section in SECTIONS],
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "capture_repr": (),  # what an example has to say it prints
    "backreferences_dir": "auto_gallery/backreferences",
    "doc_module": ("unconv",),
    "reference_url": {"unconv": None},
    "remove_config_comments": True,
    "show_memory": False,
    "write_computation_times": False,
    "show_signature": False,
    "plot_gallery": "True",
}

OPERATORS = ("Convolution", "InverseOperator", "VaryingBlur", "ProductConvolution")
INTERNAL = {
    *("value", "value_dtype", "gradients", "in_double", "with_kernels", "without_bias"),
    *(
        "advice",
        "bound_to",
        "depends_on",
        "evaluate",
        "evaluate_with_effort",
        "made_by",
        "solution",
    ),
    *("on_torus", "part", "shares_on_domain", "product_first"),
}
"""Members of operators that other rooms call; people have no use for them."""

_LITERAL = re.compile(r"(``.*?``|`.*?`)")
_MARKUP = re.compile(r"[*|]|_(?!\w)")
_FIELD = re.compile(r"(\w+(?:, \w+)*) : (.+)")
_COLON = "\ue000"
_SHORT = 80  # characters; a line that goes on is filled to 88 or more


def escape_mathematics(app, what, name, obj, options, lines):
    """Docstrings are read as plain text first: `(N, *shape)` and |a| must not become markup."""
    in_example = False
    for i, line in enumerate(lines):
        in_example = line.lstrip().startswith(">>>") or (in_example and bool(line.strip()))
        if not in_example:
            pieces = _LITERAL.split(line)
            pieces[::2] = [_MARKUP.sub(r"\\\g<0>", piece) for piece in pieces[::2]]
            lines[i] = "".join(pieces)
    if what == "property" and lines:  # napoleon would read "type: text"
        lines[0] = lines[0].replace(":", _COLON)
    lines[:] = _fields_without_types(_returned_text(lines))


def _returned_text(lines):
    """`Returns` in a sentence is one description: napoleon would take every line for a type."""
    found, i = [], 0
    while i < len(lines):
        found.append(lines[i])
        i += 1
        if found[-1] in ("Returns", "Yields") and i < len(lines) and set(lines[i]) == {"-"}:
            end = next((j for j in range(i, len(lines)) if not lines[j]), len(lines))
            text = lines[i + 1 : end]
            found.append(lines[i])
            if any(line.startswith(" ") for line in text) or _FIELD.fullmatch(text[0]):
                found += text
            else:
                found += [":", *(f"    {line}" for line in text)]  # no name, no type
            i = end
    return found


def _fields_without_types(lines):
    """In a section, `a, b : text` is a text for a and b, no type, on however many lines.

    A type is a short line with its sentence below it.
    """
    found, header, pending = [], "", []
    for i, line in enumerate(lines):
        if pending and line.startswith(" "):
            pending[-1].append(line)
            continue
        found += _text_of_names(*pending)
        pending = []
        if line and set(line) == {"-"}:
            header = lines[i - 1]
        header = header if line else ""
        field = _FIELD.fullmatch(line) if header else None
        behind = lines[i + 1] if i + 1 < len(lines) else ""
        if field is None or (behind.startswith(" ") and len(line) < _SHORT):
            found.append(line)
        else:
            names = [field[1]] if header == "Parameters" else field[1].split(", ")
            pending = [names, [f"    {field[2]}"]]
    return found + _text_of_names(*pending)


def _text_of_names(names=(), text=()):
    return [line for name in names for line in (name, *text)]


def restore_colons(app, what, name, obj, options, lines):
    """Undo what hid the colon from napoleon."""
    lines[:] = [line.replace(_COLON, ":") for line in lines]


def skip_internal(app, what, name, obj, skip, options):
    """Leave out what operators offer to other rooms alone, and what stands there already."""
    owner = getattr(getattr(obj, "fget", obj), "__qualname__", "").partition(".")[0]
    listed_above = type(obj).__name__ == "_tuplegetter"  # fields of named tuples: their Attributes
    return True if listed_above or (owner in OPERATORS and name in INTERNAL) else None


def setup(app):
    """Register the hooks, around napoleon's (priority 500)."""
    app.connect("autodoc-process-docstring", escape_mathematics, priority=400)
    app.connect("autodoc-process-docstring", restore_colons, priority=600)
    app.connect("autodoc-skip-member", skip_internal)
