"""What a user installs, away from the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from denoise import pretrained

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def bin_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel in an environment of its own that borrows the dependencies of this one, but not this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=CHECKOUT, check=True, capture_output=True, text=True)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "venv", with_pip=True)
    scripts = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
    python = scripts / "python"
    pip = [str(python), "-m", "pip", "install", "-q", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(pip, check=True, capture_output=True, text=True)
    asked = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = subprocess.run([str(python), "-c", asked], check=True, capture_output=True, text=True).stdout.strip()
    # Lines of a .pth file are added to the path; .pth files found there, such as an editable install's, are not read.
    (Path(site) / "borrowed.pth").write_text(sysconfig.get_path("purelib"))
    return scripts


def run(bin_folder: Path, folder: Path, *arguments: str) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [str(bin_folder / "denoise"), *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_restores_a_photo_with_the_weights_inside(bin_folder: Path, tmp_path: Path) -> None:
    assert "photo.clean.png" in run(bin_folder, tmp_path, "sample")
    assert "-> photo.restored.png (photo, " in run(bin_folder, tmp_path, "restore", "photo.png")
    assert (tmp_path / "photo.restored.png").stat().st_size > 100_000


def test_it_lists_the_weights_and_where_they_are_from(bin_folder: Path, tmp_path: Path) -> None:
    listed = run(bin_folder, tmp_path, "models")
    assert [line.split()[0] for line in listed.splitlines()] == pretrained.names()
    asked = "import denoise, pathlib; print(pathlib.Path(denoise.__file__).parent)"
    python = subprocess.run([str(bin_folder / "python"), "-c", asked], cwd=tmp_path, capture_output=True, text=True)
    assert CHECKOUT not in Path(python.stdout.strip()).parents
    assert (Path(python.stdout.strip()) / "py.typed").is_file()
