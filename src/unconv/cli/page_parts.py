"""What the pages of all reports are made of: a style, figures with their words, rows of facts."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def data_uri(buffer: io.BytesIO, kind: str) -> str:
    """A picture as it stands in a page."""
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def figure_section(figure: Figure, heading: str, words: str, *, wide: bool = False) -> str:
    """A figure under its heading, its words below."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return (
        f"<section{' class=wide' if wide else ''}><h2>{html.escape(heading)}</h2>"
        f'<img class="plot" src="{data_uri(buffer, "png")}" alt="{html.escape(heading)}">'
        f"<p>{html.escape(words)}</p></section>"
    )


def fact_rows(facts: Mapping[str, str]) -> str:
    """The rows of a table of facts."""
    return "".join(
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(text)}</td></tr>"
        for name, text in facts.items()
    )


STYLE = """
:root { color-scheme: light dark; --line: #8886; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 72rem; font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.3rem; overflow-wrap: anywhere; } h2 { font-size: 1.05rem; margin: 0 0 .5rem; }
.slider { position: relative; width: 100%; max-width: 60rem; touch-action: pan-y; }
.slider img { display: block; width: 100%; height: auto; }
.slider .top { position: absolute; inset: 0; clip-path: inset(0 0 0 var(--cut, 50%)); }
.slider .bar { position: absolute; top: 0; bottom: 0; left: var(--cut, 50%); width: 2px;
  background: #fff; box-shadow: 0 0 4px #000; pointer-events: none; }
.slider input { position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0;
  cursor: ew-resize; }
.slider span { position: absolute; bottom: .5rem; padding: .1rem .5rem; border-radius: .3rem;
  background: #000a; color: #fff; font-size: .85rem; pointer-events: none; }
.slider .left { left: .5rem; } .slider .right { right: .5rem; }
.grid { display: grid; gap: 1.5rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); }
section { min-width: 0; } .wide { grid-column: 1 / -1; }
.plot { width: 100%; height: auto; background: #fff; border-radius: .3rem; }
table { border-collapse: collapse; width: 100%; } th { text-align: left; font-weight: 600; }
th, td { padding: .25rem .5rem .25rem 0; border-bottom: 1px solid var(--line); vertical-align: top;
  overflow-wrap: anywhere; }
th { width: 9rem; } pre { white-space: pre-wrap; overflow-wrap: anywhere; font-size: .85rem; }
.advice { border-left: 4px solid #0072b2; padding-left: .8rem; }
"""
