"""The files around the code agree: one version, pinned packages, targets that exist."""

from __future__ import annotations

import re
import runpy
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = SETTINGS["project"]
LINES = (ROOT / "constraints.txt").read_text().splitlines()
PINNED = {x.split("==")[0].lower().replace("_", "-") for x in LINES if "==" in x}
NOT_IN_CI = {"mri", "napari"}  # extras that no target of the Makefile installs

check = runpy.run_path(str(ROOT / ".ci" / "release_check.py"))


def test_what_ci_installs_is_pinned():
    extras = PROJECT["optional-dependencies"]
    wanted = [*PROJECT["dependencies"], *SETTINGS["build-system"]["requires"]]
    for name in extras.keys() - NOT_IN_CI:
        wanted += extras[name]
    names = {re.match(r"[\w.-]+", w)[0].lower() for w in wanted}
    assert names - {"unconv"} <= PINNED


def test_ci_and_the_hosted_file_call_the_same_targets():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    job = workflow["jobs"]["test"]
    hosted = [step["run"] for step in job["steps"] if "run" in step]
    run = (ROOT / ".ci" / "run").read_text().splitlines()
    assert hosted == [line for line in run if line.startswith("make ")]
    makefile = (ROOT / "Makefile").read_text()
    for target in (line.removeprefix("make ") for line in hosted):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    versions = job["strategy"]["matrix"]["python-version"]
    promised = [c.split(" :: ")[-1] for c in PROJECT["classifiers"] if ":: 3." in c]
    assert versions == promised
    assert PROJECT["requires-python"] == f">={versions[0]}"


def test_the_hooks_run_what_lint_runs():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    called = {hook["entry"].replace(" --force-exclude", "") for hook in hooks}
    makefile = (ROOT / "Makefile").read_text()
    recipe = re.search(r"^lint:.*\n((?:\t.+\n)+)", makefile, re.MULTILINE)[1]
    lines = recipe.replace("$(BIN)", ".venv/bin").replace(" $(PYTHON_CODE)", "").split("\n")
    assert called == {line.strip() for line in lines if line}


def test_versions_agree():
    assert not [f for f in check["faults_of_files"](ROOT) if "CITATION" in f]
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest[1] == PROJECT["version"]


@pytest.fixture
def ready(tmp_path: Path) -> Path:
    """The files as a release wants them."""
    for name in ("pyproject.toml", "CITATION.cff", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tmp_path)
    names = ("Documentation", "Source", "Issues", "Changelog")
    urls = "".join(f'{name} = "https://example.org"\n' for name in names)
    _replace(tmp_path / "pyproject.toml", r"(?<=\[project\.urls\]\n)", urls)
    _replace(tmp_path / "CHANGELOG.md", r"(?m)^(## \S+) \(.*\)$", r"\1 (2030-01-31)")
    return tmp_path


def test_a_release_that_is_ready(ready):
    assert check["faults_of_files"](ready) == []


@pytest.mark.parametrize(
    ("file", "pattern", "new", "said"),
    [
        ("CITATION.cff", r"(?m)^version: .*", "version: 0.0.9", "CITATION.cff does not say"),
        ("CHANGELOG.md", r"\(2030-01-31\)", "(unreleased)", "CHANGELOG.md does not begin with"),
        ("pyproject.toml", r"Issues = .*\n", "", r"\[project.urls\] .* lacks Issues"),
    ],
)
def test_a_release_that_is_not_ready(ready, file: str, pattern: str, new: str, said: str):
    _replace(ready / file, pattern, new)
    (fault,) = check["faults_of_files"](ready)
    assert re.match(said, fault)


def _replace(path: Path, pattern: str, new: Any) -> None:
    text, count = re.subn(pattern, new, path.read_text(), count=1)
    assert count
    path.write_text(text)
