"""One version: that of the package, of the citation and of the changelog."""

import yaml
from places import REPOSITORY

import owo_env


def test_every_place_says_the_same_version():
    cited = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == owo_env.__version__
    headings = [
        line
        for line in (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("## ")
    ]
    assert headings[0].split()[1] == owo_env.__version__


def test_the_version_is_written_in_no_other_place():
    project = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    assert 'dynamic = ["version"]' in project
    assert f'"{owo_env.__version__}"' not in project
