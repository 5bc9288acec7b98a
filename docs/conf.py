"""Sphinx configuration; builds without a network and without warnings."""

from __future__ import annotations

import importlib
import re
from importlib.metadata import version as installed_version

project = "unconv"
author = "The unconv developers"
project_copyright = "The unconv developers"
version = release = installed_version("unconv")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"unconv {release}"
myst_heading_anchors = 3
default_role = "code"

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # shapes and meanings stand in the docstrings
napoleon_use_rtype = False
napoleon_use_ivar = True

OPTIONAL = {
    "unconv.nn": "Layers",
    "unconv.fir": "Inverse kernels",
    "unconv.psf": "Point-spread functions",
    "unconv.parameter_choice": "How much to damp",
    "unconv.regularize": "Penalties and filters",
    "unconv.inspection": "Inspecting a kernel",
    "unconv.pictures": "Blurring and restoring pictures",
    "unconv.pictures.formats": "Reading and writing pictures",
}
"""Modules that the API page shows where they and what they need can be imported."""

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


def add_optional_modules(app, docname, source):
    """Append a section for every optional module that can be imported."""
    if docname != "api":
        return
    for module, title in OPTIONAL.items():
        try:
            names = hasattr(importlib.import_module(module), "__all__")
        except ImportError:
            continue
        source[0] += (
            f"\n## {title}: `{module}`\n\n```{{eval-rst}}\n.. automodule:: {module}\n"
            f"   :members:\n{'   :imported-members:' if names else ''}\n```\n"
        )


def setup(app):
    """Register the hooks, around napoleon's (priority 500)."""
    app.connect("autodoc-process-docstring", escape_mathematics, priority=400)
    app.connect("autodoc-process-docstring", restore_colons, priority=600)
    app.connect("source-read", add_optional_modules)
