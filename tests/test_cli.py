from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from denoise.cli_output import progress_bar
from tests.conftest import photo, run


def test_restore_says_what_it_found_and_did(
    noisy_png: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "restore", noisy_png, "--model", tiny_weights) == 0
    out, err = capsys.readouterr()
    assert "PNG, RGB, 8 bit, 64x48; noise level" in out and "noisy photo ü.restored.png (tiny," in out and not err


def test_restore_as_json(
    noisy_png: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "restore", noisy_png, "--model", tiny_weights, "--sigma", 12, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["sigma"] == [12.0] and report["source"] == str(noisy_png)


def test_restore_a_folder_names_failures_and_exits_1(
    noisy_png: Path,
    tiny_weights: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    out = tmp_path / "clean"
    assert run(monkeypatch, "restore", tmp_path, "-o", out, "--model", tiny_weights) == 1
    said = capsys.readouterr().err
    assert "broken.jpg" in said and "1 of 2 files" in said
    assert (out / noisy_png.name).is_file()


def test_a_file_that_may_not_be_read_is_one_failure(
    noisy_png: Path,
    tiny_weights: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    (tmp_path / "locked.png").write_bytes(noisy_png.read_bytes())
    access = os.access
    monkeypatch.setattr(
        os, "access", lambda path, *how, **more: "locked" not in str(path) and access(path, *how, **more)
    )
    arguments = (noisy_png, tmp_path / "locked.png", "-o", tmp_path / "out", "--model", tiny_weights)
    assert run(monkeypatch, "restore", *arguments) == 1
    said = capsys.readouterr().err
    assert "locked.png may not be read: permission denied" in said and "1 of 2 files" in said
    assert (tmp_path / "out" / noisy_png.name).is_file()


@pytest.mark.parametrize(
    "arguments", [("corrupt", "FILE", "-o", "x.png"), ("search", "FILE", "--index", "i"), ("index", "FILE", "-o", "i")]
)
def test_of_what_may_not_be_read_one_sentence_is_said(
    arguments: tuple[str, ...],
    noisy_png: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    assert run(monkeypatch, *(noisy_png if one == "FILE" else one for one in arguments)) > 0
    said = capsys.readouterr().err
    assert said.startswith("denoise: ") and said.count("\n") == 1


def test_no_bar_is_shown_while_something_is_printed(
    noisy_png: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    seen: list[str] = []

    @contextmanager
    def bar() -> Iterator[None]:
        seen.append("bar")
        yield
        seen.append("gone")

    monkeypatch.setattr("denoise.cli.progress_bar", bar)
    monkeypatch.setattr("denoise.cli.print_result", lambda *_: seen.append("printed"))
    assert run(monkeypatch, "restore", tmp_path, "-o", tmp_path / "clean", "--model", tiny_weights) == 1
    assert seen == ["bar", "gone", "printed"] * 2
    assert run(monkeypatch, "restore", noisy_png, "--model", tiny_weights) == 0
    assert seen == ["bar", "gone", "printed"] * 3


def bad_inputs(folder: Path) -> dict[str, tuple[list[object], int]]:
    """Arguments behind `restore`, and the exit code they deserve."""
    good = folder / "good.png"
    Image.fromarray(photo(8, 8)).save(good)
    Image.new("L", (8, 8), 255).save(folder / "white.png")
    Image.new("L", (9, 8)).save(folder / "large.png")
    whole = good.read_bytes()
    files = {"empty.png": b"", "cut.png": whole[: len(whole) // 2], "text.png": b"hello", "text.txt": b"hello"}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return {
        "missing": ([folder / "none.png"], 2),
        "empty": ([folder / "empty.png"], 1),
        "truncated": ([folder / "cut.png"], 1),
        "no picture": ([folder / "text.png"], 1),
        "not a picture's name": ([folder / "text.txt"], 1),
        "output = input": ([good, "-o", good], 2),
        "output folder missing": ([good, "-o", folder / "nowhere" / "x.png"], 2),
        "unknown suffix": ([good, "-o", folder / "x.xyz"], 2),
        "sigma no number": ([good, "--sigma", "much"], 2),
        "sigma out of range": ([good, "--sigma", "-3"], 2),
        "strength out of range": ([good, "--strength", "2"], 2),
        "folder without -o": ([folder], 2),
        "unknown option": ([good, "--frobnicate"], 2),
        "unknown dtype": ([good, "--dtype", "int3"], 2),
        "compare of several": ([good, good, "--compare", folder / "c.png"], 2),
        "compare of no format": ([good, "--compare", folder / "c.xyz"], 2),
        "compare into nowhere": ([good, "--compare", folder / "nowhere" / "c.png"], 2),
        "several onto themselves": ([good, folder / "large.png", "-o", folder], 2),
        "unknown device of several": ([good, folder / "large.png", "--device", "abacus"], 2),
        "several into a file": ([good, folder / "large.png", "-o", folder / "text.txt"], 2),
        "several into a picture": ([good, folder / "large.png", "-o", folder / "new.png"], 2),
        "residual of a picture": ([good, "--residual", folder / "r.wav"], 2),
        "name too long": ([folder / ("x" * 300 + ".png")], 1),
        "mask missing": ([good, "--mask", folder / "none.png"], 2),
        "mask damaged": ([good, "--mask", folder / "cut.png"], 1),
        "mask covers all": ([good, "--mask", folder / "white.png"], 2),
        "mask of another size": ([good, "--mask", folder / "large.png"], 2),
        "no alpha": ([good, "--mask", "alpha"], 2),
        "no colour": ([good, "--mask-color", "nonesuch"], 2),
        "mask and colour": ([good, "--mask", good, "--mask-color", "red"], 2),
        "dilate alone": ([good, "--dilate", "3"], 2),
    }


CASES = """missing|empty|truncated|no picture|not a picture's name|output = input|output folder missing|unknown suffix
sigma no number|sigma out of range|strength out of range|folder without -o|unknown option|unknown dtype
compare of several|mask missing|mask damaged|mask covers all|mask of another size|no alpha|no colour|mask and colour
dilate alone
compare of no format|compare into nowhere|several onto themselves|unknown device of several|name too long
several into a file
several into a picture|residual of a picture"""


@pytest.mark.parametrize("case", CASES.replace("\n", "|").split("|"))
def test_bad_input_gets_one_sentence_and_nothing_is_lost(
    case: str, tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, code = bad_inputs(tmp_path)[case]
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert run(monkeypatch, "restore", *arguments, "--model", tiny_weights) == code
    out, err = capsys.readouterr()
    assert not out and "Traceback" not in err
    if case != "unknown option":  # that one is Typer's own message
        assert err.startswith("denoise: ") and err.count("\n") == 1
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_holes_are_filled_and_counted(
    noisy_png: Path, tiny_inpainting_weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mask = Image.new("L", (64, 48))
    mask.paste(255, (10, 10, 30, 12))
    mask.save(noisy_png.parent / "mask.png")
    options = ["--mask", noisy_png.parent / "mask.png", "--dilate", 1, "--model", tiny_inpainting_weights]
    assert run(monkeypatch, "restore", noisy_png, *options) == 0
    out, err = capsys.readouterr()
    assert "holes of 88 pixels" in out and "noise level" not in out and not err


def test_evaluate_holes(
    noisy_png: Path, tiny_inpainting_weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for corruption in ([], ["--corruption", "scratches"]):
        options = ["--data", noisy_png.parent, "--json", *corruption]
        assert run(monkeypatch, "evaluate", tiny_inpainting_weights, *options) == 0
        scores = json.loads(capsys.readouterr().out)
        assert (scores["pictures"], scores["corruption"]) == (1, "scratches")


def test_evaluate_names_what_it_cannot_score(
    noisy_png: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (noisy_png.parent / "broken.png").write_bytes(b"no picture")
    assert run(monkeypatch, "evaluate", tiny_weights, "--data", noisy_png.parent, "--json") == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["pictures"] == 1
    assert err.count("broken.png") == 1 and "Not all files could be scored" in err


@pytest.mark.parametrize(
    ("weights", "option", "reason"),
    [
        ("tiny_weights", ("--attenuation-db", 12), "is a picture and an attenuation is for sound"),
        ("tiny_inpainting_weights", ("--attenuation-db", 12), "is a picture and an attenuation is for sound"),
        ("tiny_inpainting_weights", ("--sigma", 25), "fills holes; leave it out"),
        ("tiny_sound_weights", ("--sigma", 25), "is sound and sigma is for pictures"),
        ("tiny_sound_weights", ("--ensemble", 8), "is sound and an ensemble is for pictures"),
        ("tiny_sound_weights", ("--corruption", "gaussian:sigma=25"), "leave --corruption out"),
    ],
)
def test_evaluate_is_asked_for_nothing_in_vain(
    weights: str,
    option: tuple[str, object],
    reason: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(monkeypatch, "evaluate", request.getfixturevalue(weights), "--data", tmp_path, *option) == 2
    assert reason in capsys.readouterr().err


def test_corruptions_are_listed_without_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "corrupt", "--list") == 0
    assert "gaussian:sigma=25  White Gaussian noise" in capsys.readouterr().out


def test_doctor_prints_one_object_a_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "doctor", "--json") == 0
    assert all("what" in json.loads(line) for line in capsys.readouterr().out.splitlines())


def test_unknown_weights(noisy_png: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "restore", noisy_png, "--model", "nonesuch") == 2
    assert "no weights called 'nonesuch'" in capsys.readouterr().err


def test_two_weights_for_one_task(
    noisy_png: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "restore", noisy_png, "--model", "photo,gaussian") == 2
    assert "'photo' and 'gaussian' are both for pictures" in capsys.readouterr().err


def test_what_was_done_before_is_told(
    noisy_png: Path,
    tiny_weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ("restore", noisy_png.parent, "-o", tmp_path / "out", "--model", tiny_weights, "--sigma", 9)
    assert run(monkeypatch, *arguments) == 0
    assert "are there" not in capsys.readouterr().out
    assert run(monkeypatch, *arguments) == 0
    assert capsys.readouterr().out.startswith("1 of 1 outputs are there")


def test_an_interruption_is_told(
    noisy_png: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("denoise.pipeline.restore_file", interrupted)
    assert run(monkeypatch, "restore", noisy_png, "--model", tiny_weights) == 130
    assert "stopped; finished files are complete" in capsys.readouterr().err


def test_names_that_cannot_be_printed(noisy_png: Path, tiny_weights: Path, tmp_path: Path) -> None:
    names = [os.fsencode(tmp_path) + b"/caf\xe9.png", os.fsencode(noisy_png)]
    Path(os.fsdecode(names[0])).write_bytes(noisy_png.read_bytes())
    command = [
        sys.executable,
        "-c",
        "from denoise.cli import main; main()",
        "restore",
        *names,
        "-o",
        tmp_path / "out",
        "--model",
        tiny_weights,
    ]
    environment = os.environ | {"PYTHONIOENCODING": "utf-8:strict", "PYTHONUTF8": "0"}
    done = subprocess.run([*command, "--sigma", "9"], capture_output=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, b"") and done.stdout.count(b"->") == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(
    noisy_png: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    assert run(monkeypatch, "restore", noisy_png, "-o", tmp_path / "locked" / "x.png", "--model", tiny_weights) == 2


def test_corrupt_then_evaluate(
    tiny_weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    clean = tmp_path / "clean"
    clean.mkdir()
    Image.fromarray(photo(32, 32)).save(clean / "a.png")
    assert (
        run(monkeypatch, "corrupt", clean / "a.png", "-o", tmp_path / "noisy.png", "--with", "gaussian:sigma=30") == 0
    )
    difference = np.asarray(Image.open(tmp_path / "noisy.png")).astype(float) - np.asarray(Image.open(clean / "a.png"))
    assert 20 < difference.std() < 35
    capsys.readouterr()
    assert (
        run(monkeypatch, "evaluate", tiny_weights, "--data", clean, "--corruption", "gaussian:sigma=30", "--json") == 0
    )
    scores = json.loads(capsys.readouterr().out)
    assert scores["pictures"] == 1 and 15 < scores["noisy_psnr_db"] < 25


def test_corrupt_names_what_it_knows(
    noisy_png: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(monkeypatch, "corrupt", noisy_png, "-o", tmp_path / "x.png", "--with", "sparkle") == 2
    assert "gaussian" in capsys.readouterr().err


def test_sample_writes_a_noisy_photo_and_its_original(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(monkeypatch, "sample", tmp_path / "new") == 0
    noisy, clean = (
        np.asarray(Image.open(tmp_path / "new" / name)).astype(float) for name in ("photo.png", "photo.clean.png")
    )
    assert noisy.shape == clean.shape and 8 < (noisy - clean).std() < 40


def test_sample_replaces_nobodys_photo(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(monkeypatch, "sample", tmp_path) == 0
    assert run(monkeypatch, "sample", tmp_path) == 0  # the same files once more
    assert run(monkeypatch, "sample", tmp_path / "photo.png") == 2
    assert "photo.png is a file; choose a folder." in capsys.readouterr().err
    (tmp_path / "photo.png").write_bytes(b"precious")
    assert run(monkeypatch, "sample", tmp_path) == 2
    assert "photo.png exists" in capsys.readouterr().err
    assert (tmp_path / "photo.png").read_bytes() == b"precious"


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "--version") == 0
    assert capsys.readouterr().out.strip() == "0.1.0"


def imported_by(code: str) -> set[str]:
    script = f"{code}\nimport sys; print(' '.join(sys.modules))"
    return set(
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    )


def test_help_imports_no_torch() -> None:
    loaded = imported_by(
        "import sys\nsys.argv = ['denoise', '--help']\nfrom denoise.cli import main\n"
        "import contextlib, io\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n    main()"
    )
    assert "typer" in loaded
    assert not loaded & {"torch", "numpy", "PIL", "lightning", "torchaudio", "librosa"}


def test_the_picture_path_imports_neither_sound_nor_training() -> None:
    loaded = imported_by("import denoise\ndenoise.restore, denoise.load, denoise.networks")
    assert "torch" in loaded
    assert not loaded & {"lightning", "torchaudio", "librosa", "sklearn", "torchmetrics", "scipy", "matplotlib"}


def test_it_is_a_module_too() -> None:
    command = [sys.executable, "-m", "denoise", "--version"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "0.1.0"


def test_no_bar_where_there_is_no_stream_for_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    with progress_bar() as progress:
        assert progress is None
