"""Every `>>>` example in the documentation and in the README runs and prints what it says."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("docs/*.md")), ROOT / "README.md"]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples(page):
    examples = page_examples(page)
    report: list[str] = []
    with torch.random.fork_rng():
        torch.manual_seed(0)
        doctest.DocTestRunner(optionflags=FLAGS).run(examples, out=report.append)
    assert not report, "".join(report)


def page_examples(page: Path) -> doctest.DocTest:
    """The examples of a page, one namespace for all; a closing fence is no expected output."""
    lines = page.read_text(encoding="utf-8").splitlines()
    text = "\n".join("" if line.lstrip().startswith("```") else line for line in lines)
    return doctest.DocTestParser().get_doctest(text, {}, page.name, str(page), 0)
