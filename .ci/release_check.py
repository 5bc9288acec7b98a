"""What still stands between the working tree and a release, one sentence a fault."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ADDRESSES = {"Documentation", "Source", "Issues", "Changelog"}


def faults_of_files(root: Path) -> list[str]:
    """Of versions, date and addresses in the files of the project."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    version, found = project["version"], []
    cited = re.search(r"^version: (\S+)", _text(root / "CITATION.cff"), re.MULTILINE)
    if cited is None or cited[1] != version:
        found.append(f"CITATION.cff does not say version: {version}.")
    newest = re.search(r"^## (.+)$", _text(root / "CHANGELOG.md"), re.MULTILINE)
    dated = rf"{re.escape(version)} \(\d{{4}}-\d\d-\d\d\)"
    if newest is None or not re.fullmatch(dated, newest[1]):
        found.append(f"CHANGELOG.md does not begin with '## {version} (YYYY-MM-DD)'.")
    missing = sorted(ADDRESSES - set(project.get("urls", {})))
    if missing:
        found.append(f"[project.urls] of pyproject.toml lacks {', '.join(missing)}.")
    return found


def faults_of_git(root: Path) -> list[str]:
    """Of the commit and its tag."""
    found = ["there are changes that are not committed."] if _git(root, "status", "-s") else []
    version = tomllib.loads(_text(root / "pyproject.toml"))["project"]["version"]
    if f"v{version}" not in _git(root, "tag", "--points-at", "HEAD").split():
        found.append(f"the commit has no tag v{version}.")
    return found


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _git(root: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=root, capture_output=True, text=True).stdout


if __name__ == "__main__":
    here = Path(__file__).parents[1]
    sys.exit("\n".join([*faults_of_files(here), *faults_of_git(here)]) or None)
