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
    lines[:] = _one_line_fields(lines)


def _one_line_fields(lines):
    """In a section, `a, b : text` without an indented text is a text for a and for b, no type."""
    found, in_section = [], False
    for line, behind in zip(lines, [*lines[1:], ""], strict=True):
        in_section = bool(line) and (in_section or set(line) == {"-"})
        field = _FIELD.fullmatch(line) if in_section else None
        if field is None or behind.startswith(" "):
            found.append(line)
        else:
            for field_name in field[1].split(", "):
                found += [field_name, f"    {field[2]}"]
    return found


def restore_colons(app, what, name, obj, options, lines):
    """Undo what hid the colon from napoleon."""
    lines[:] = [line.replace(_COLON, ":") for line in lines]


def skip_internal(app, what, name, obj, skip, options):
    """Leave out what operators offer to the other rooms of the house alone."""
    owner = getattr(getattr(obj, "fget", obj), "__qualname__", "").partition(".")[0]
    return True if owner in OPERATORS and name in INTERNAL else None


def setup(app):
    """Register the hooks, around napoleon's (priority 500)."""
    app.connect("autodoc-process-docstring", escape_mathematics, priority=400)
    app.connect("autodoc-process-docstring", restore_colons, priority=600)
    app.connect("autodoc-skip-member", skip_internal)
