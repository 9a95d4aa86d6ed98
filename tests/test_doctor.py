"""What `denoise doctor` says of packages that are not installed."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from denoise.doctor import examine


def test_optional_packages_are_found_by_the_command_it_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the extras that are for use, in pyproject.toml, and TensorBoard, which is in none."""

    def version(name: str) -> str:
        if name in wanted:
            raise metadata.PackageNotFoundError(name)
        return found(name)

    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = {
        re.split("[<>=]", requirement)[0]: f"'denoise-toolkit[{extra}]'"
        for extra in ("formats", "search", "speech")
        for requirement in extras[extra]
    } | {"tensorboard": "tensorboard"}
    found = metadata.version
    monkeypatch.setattr(metadata, "version", version)
    told = {finding.what: finding for finding in examine()}
    for name, source in wanted.items():
        assert told[name].text == f"is not installed (optional: pip install {source})"
        assert told[name].ok
