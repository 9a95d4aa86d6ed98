import csv
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException
from PIL import Image

from denoise import pretrained
from denoise.cli import main as denoise
from denoise.errors import DenoiseError, UsageError
from denoise.networks import UNet
from denoise.training import main
from denoise.training.main import find_recipe, train
from tests.conftest import run


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Sums in one order, so that two trainings can be compared bit by bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _train(*options: str) -> None:
    train(["tiny.yaml", "--data.root", "pictures", *options])


def _log(folder: Path, version: int = 0) -> list[dict[str, str]]:
    with (folder / f"runs/tiny/version_{version}/metrics.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_training_leaves_logs_pictures_and_a_checkpoint(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "find_spec", lambda _: None)  # as without TensorBoard
    _train()
    rows = _log(folder)
    keys = {key for row in rows for key, value in row.items() if value}
    assert keys >= {"train/loss", "train/noise_level", "train/lr", "val/psnr_sigma25_db", "val/level_sigma25_error"}
    run = folder / "runs/tiny"
    assert sorted(path.name for path in run.iterdir()) == ["last.ckpt", "step=2.ckpt", "version_0"]
    assert sorted(path.name for path in (run / "version_0").iterdir()) == ["config.yaml", "metrics.csv", "pictures"]
    with Image.open(run / "version_0/pictures/step0000002.png") as sheet:
        assert sheet.size == (3 * 32, 32)
    assert "network: UNet, 0.00 million weights" in caplog.messages
    assert not [message for message in caplog.messages if "Tip" in message]
    ours = torch.load(run / "last.ckpt", weights_only=True)["denoise"]
    assert ours["recipe"] == "tiny.yaml"
    assert ours["metrics"].keys() == {"val/psnr_sigma25_db", "val/level_sigma25_error"}


def test_tensorboard_logs_too_where_it_is_installed(folder: Path) -> None:
    pytest.importorskip("tensorboard")
    _train()
    assert len(list((folder / "runs/tiny/version_0").glob("events.out.tfevents.*"))) == 1
    assert _log(folder)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_resumed_training_is_the_same_training(folder: Path, optimizer: str) -> None:
    _train("--trainer.max_steps", "4", "--model.optimizer", optimizer)
    whole = torch.load("runs/tiny/last.ckpt", weights_only=True)
    _train("--trainer.max_steps", "4", "--model.optimizer", optimizer, "--ckpt_path", "runs/tiny/step=2.ckpt")
    resumed = torch.load(max(Path("runs/tiny").glob("last*.ckpt"), key=lambda p: p.stat().st_mtime), weights_only=True)
    assert resumed["global_step"] == whole["global_step"] == 4
    for part in ("state_dict", "current_model_state", "averaging_state"):
        for key, value in whole[part].items():
            assert torch.equal(resumed[part][key], value), key
    torch.testing.assert_close(resumed["optimizer_states"], whole["optimizer_states"], rtol=0, atol=0)


def test_a_training_becomes_weights_by_two_commands(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["denoise", *arguments])
        with pytest.raises(SystemExit) as stopped:
            denoise()
        return int(stopped.value.code or 0)

    (folder / "card.yaml").write_text("{summary: Tiny, licence: CC0-1.0, data: [noise], limits: [all]}")
    assert run("train", "tiny.yaml", "--data.root", "pictures") == 0
    assert run("export-weights", "runs/tiny/last.ckpt", "-o", "weights/tiny") == 2
    assert "denoise: Weights need a card; give --card" in capsys.readouterr().err
    assert run("export-weights", "runs/tiny/last.ckpt", "-o", "weights/tiny", "--card", "card.yaml") == 0
    assert run("export-weights", "runs/tiny/last.ckpt", "-o", "weights/tiny", "--card", "card.yaml") == 2
    assert "denoise: weights/tiny holds weights; give another folder" in capsys.readouterr().err
    again = ("--card", "card.yaml", "--overwrite")
    assert run("export-weights", "runs/tiny/last.ckpt", "-o", "weights/tiny", *again) == 0
    weights = pretrained.load("weights/tiny")
    averaged = torch.load("runs/tiny/last.ckpt", weights_only=True)["state_dict"]
    for name, value in weights.network.state_dict().items():
        torch.testing.assert_close(value, averaged[f"network.{name}"], rtol=1e-3, atol=1e-6)
    assert weights.card.metrics["validation"].keys() == {"val/psnr_sigma25_db", "val/level_sigma25_error"}


def test_a_second_training_keeps_the_checkpoint_of_the_first(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    recipe = folder / "tiny.yaml"  # as the shipped ones keep their checkpoints
    recipe.write_text(recipe.read_text().replace("save_top_k: -1", "save_top_k: 0, enable_version_counter: false"))
    for seed in (1, 2):
        _train("--data.seed", str(seed))
    first, last = (Path("runs/tiny") / f"{name}.ckpt" for name in ("earlier-1", "last"))
    assert f"The checkpoint of another training is kept as {first.resolve()}" in caplog.messages
    earlier, before = first.read_bytes(), last.read_bytes()
    assert earlier != before
    with pytest.raises(UsageError):
        _train("--data.root", "nowhere")
    assert last.read_bytes() == before, "a training that never began costs nothing"
    _train("--data.seed", "2", "--trainer.max_steps", "3", "--ckpt_path", "last")
    assert torch.load(last, weights_only=True)["global_step"] == 3
    _train("--data.seed", "1", "--trainer.max_steps", "4", "--ckpt_path", str(first))
    steps = {path.stem: torch.load(path, weights_only=True)["global_step"] for path in first.parent.glob("*.ckpt")}
    assert steps == {"earlier-1": 2, "earlier-2": 3, "last": 4} and first.read_bytes() == earlier


def test_what_was_measured_outlasts_an_interruption(folder: Path) -> None:
    _train()
    measured = torch.load("runs/tiny/last.ckpt", weights_only=True)["denoise"]["metrics"]
    _train("--ckpt_path", "last", "--trainer.max_steps", "3", "--trainer.val_check_interval", "50")
    resumed = torch.load("runs/tiny/last.ckpt", weights_only=True)
    assert resumed["global_step"] == 3 and measured
    assert resumed["denoise"]["metrics"] == measured


def test_another_optimizer_cannot_go_on(folder: Path) -> None:
    _train()
    with pytest.raises(UsageError, match=r"trained by adamw, not muon: go on with --model\.optimizer adamw"):
        _train("--ckpt_path", "last", "--model.optimizer", "muon")


def test_the_very_last_step_is_saved(folder: Path) -> None:
    _train("--trainer.max_steps", "3")
    assert torch.load("runs/tiny/last.ckpt", weights_only=True)["global_step"] == 3


@pytest.mark.parametrize("every", ["1", "200"])
def test_the_mean_does_not_take_the_place_of_what_goes_on(folder: Path, every: str) -> None:
    recipe = folder / "tiny.yaml"
    recipe.write_text(re.sub(r"every_n_train_steps: \d+", f"every_n_train_steps: {every}", recipe.read_text()))
    _train("--trainer.max_steps", "3")
    kept = torch.load("runs/tiny/last.ckpt", weights_only=True)
    raw, mean = kept["current_model_state"], kept["state_dict"]
    assert any(not torch.equal(value, raw[key]) for key, value in mean.items())


def test_a_dry_run_replaces_no_checkpoint(folder: Path) -> None:
    _train()
    before = {path: path.read_bytes() for path in Path("runs/tiny").glob("*.ckpt")}
    _train("--trainer.fast_dev_run", "true")
    assert {path: path.read_bytes() for path in Path("runs/tiny").glob("*.ckpt")} == before


def test_that_nothing_was_saved_is_said(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    _train("--trainer.callbacks", "null")
    assert "Nothing was saved, for no ModelCheckpoint of the recipe has save_last" in caplog.messages


@pytest.mark.parametrize(
    ("native", "options", "precision"),
    [
        (False, [], "32-true"),
        (True, [], "bf16-mixed"),
        (False, ["--trainer.precision=bf16-mixed"], "bf16-mixed"),
        (False, ["--trainer.precision", "bf16-mixed"], "bf16-mixed"),
    ],
)
def test_a_recipe_asks_no_cpu_for_a_number_format_it_lacks(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    native: bool,
    options: list[str],
    precision: str,
) -> None:
    recipe = folder / "tiny.yaml"
    recipe.write_text(recipe.read_text().replace("accelerator: cpu", "accelerator: cpu\n  precision: bf16-mixed"))
    monkeypatch.setattr(main, "cpu_multiplies_bfloat16", lambda: native)
    _train("--trainer.max_steps", "1", *options)
    assert f"precision: {precision}" in (folder / "runs/tiny/version_0/config.yaml").read_text()
    assert ("no bfloat16" in caplog.text) == (precision == "32-true")


def test_init_starts_from_weights(folder: Path) -> None:
    torch.manual_seed(5)
    card = pretrained.Card("w", "Summary", "CC0-1.0", ["data"], "recipe", "commit", ["limits"])
    weights = pretrained.Weights(UNet(widths=(4, 4), depths=(1, 1)), None, card)
    pretrained.save("w", weights)
    _train("--init", "w", "--model.lr", "0")
    trained = torch.load("runs/tiny/last.ckpt", weights_only=True)["state_dict"]["network.head.weight"]
    torch.testing.assert_close(trained, weights.network.head.weight.data, rtol=1e-3, atol=1e-6)
    with pytest.raises(UsageError, match=r"network of the weights w is not the recipe's: it has widths \[4, 4\]"):
        _train("--init", "w", "--model.network.widths", "[2, 4]")
    with pytest.raises(UsageError, match="no weights called 'nowhere'"):
        _train("--init", "nowhere")


def test_init_starts_a_wider_network(folder: Path) -> None:
    card = pretrained.Card("w", "Summary", "CC0-1.0", ["data"], "recipe", "commit", ["limits"])
    weights = pretrained.Weights(UNet(widths=(4, 4), depths=(1, 1)), None, card)
    pretrained.save("w", weights)
    _train("--init", "w", "--model.lr", "0", "--model.network.widths", "[8, 6]")
    trained = torch.load("runs/tiny/last.ckpt", weights_only=True)["state_dict"]["network.head.weight"]
    assert len(trained) == 8
    torch.testing.assert_close(trained[:4], weights.network.head.weight.data, rtol=1e-3, atol=1e-6)


def test_a_recipe_learns_from_a_teacher_too(folder: Path) -> None:
    card = pretrained.Card("w", "Summary", "CC0-1.0", ["data"], "recipe", "commit", ["limits"])
    pretrained.save("w", pretrained.Weights(UNet(widths=(4, 4), depths=(1, 1)), None, card))
    _train("--init", "w")
    _train("--init", "w", "--model", "denoise.training.distillation.Distillation", "--model.teacher", "w")
    alone, taught = (_log(folder, version)[0]["train/loss"] for version in (0, 1))
    assert float(taught) < float(alone)  # by half of the truth the target is nearer to the picture as it is
    kept = torch.load("runs/tiny/last.ckpt", weights_only=True)["state_dict"]
    assert not [key for key in kept if "teacher" in key]
    with pytest.raises(UsageError, match="no weights called 'nowhere'"):
        _train("--model", "denoise.training.distillation.Distillation", "--model.teacher", "nowhere")


def test_a_diverged_training_stops_with_a_sentence(folder: Path) -> None:
    with pytest.raises(DenoiseError, match=r"The loss became (nan|inf) at step 1; train with a lower --model.lr"):
        _train("--model.lr", "1e30")


@pytest.mark.parametrize(
    ("arguments", "exit_code", "sentence"),
    [
        (["nothing.yaml"], 2, "denoise: There is no recipe nothing.yaml; give a YAML file or one of "),
        (["tiny.yaml", "--data.root", "nowhere"], 2, "denoise: nowhere is not a folder; give the folder that holds"),
        (["tiny.yaml", "--data.root", "empty"], 2, "denoise: There is no usable picture of at least 16 x 16 pixels"),
        (["tiny.yaml", "--data.root", "empty", "--ckpt_path", "x.ckpt"], 2, "denoise: There is no checkpoint x.ckpt;"),
        (["tiny.yaml", "--data.root", "empty", "--data.crop_px", "20"], 2, "denoise: --data.crop_px 20 is not allowed"),
        (["tiny.yaml", "--data.root", "empty", "--model.corruption.sigma", "-1"], 2, "denoise: sigma=-1"),
        (
            ["tiny.yaml", "--data.root", "pictures", "--ckpt_path", "last"],
            2,
            "runs/tiny to resume; leave out --ckpt_path",
        ),
        (
            ["tiny.yaml", "--data.root", "pictures", "--model.network.channels", "1"],
            2,
            "denoise: The pictures have 3 bands",
        ),
        (["tiny.yaml"], 2, "denoise: Which pictures? Give the folder that holds them as --data.root."),
        (["tiny.yaml", "--data.root", "empty", "--model.widht", "3"], 2, "Option 'widht' is not accepted"),
        (["tiny.yaml", "--data.root", "empty", "--trainer.max_time", "1h"], 2, "in the format DD:HH:MM:SS."),
        (["tiny.yaml", "--data.root", "empty", "--trainer.devices", "0"], 2, "denoise: The recipe cannot be run so: "),
        (["tiny.yaml", "--data.root", "empty", "--trainer.strategy", "foo"], 2, "invalid strategy name"),
        (["tiny.yaml", "--data.root", "empty", "--model.network.depths", "[1]"], 2, "give as many depths as widths"),
        (["tiny.yaml", "--data.root", "empty", "--model.seed", "-1"], 2, "--model.seed -1 is not allowed: give"),
        (
            ["tiny.yaml", "--nothing", "3"],
            2,
            "denoise: unrecognized arguments: --nothing 3; `denoise train RECIPE --help`",
        ),
        (["tiny.yaml", "--model.lr", "fast"], 2, "denoise: --model.lr: expected float, got fast; "),
        (["tiny.yaml", "--model.network.nothing", "3"], 2, "--model.network: Option 'nothing' is not accepted; "),
        (["tiny.yaml", "--model.network.widths", "[8,x]"], 2, "--model.network.widths: expected int, got x; "),
        (["tiny.yaml", "--model.optimizer", "sgd"], 2, "--model.optimizer: expected one of 'adamw', 'muon', got sgd; "),
        (
            ["autoencoders/denoising", "--model.network.side", "null"],
            2,
            "got null, which can only be given in the recipe; ",
        ),
        (["tiny.yaml", "--data.root"], 2, "argument --data: expected one argument; "),
        (["tiny.yaml", "--data.root", "empty", "--model.lr", "-1"], 2, "--model.lr -1.0 is not allowed: give a number"),
        (["tiny.yaml", "--data.root", "empty", "--model.warmup_steps", "-5"], 2, "--model.warmup_steps -5 is not"),
        (["tiny.yaml", "--data.root", "empty", "--model.network.widths", "[0,8]"], 2, "no width below 1"),
        (
            ["tiny.yaml", "--data.root", "pictures", "--model.network.condition_channels", "2"],
            2,
            "train with --model.network.condition_channels 1",
        ),
        (
            ["tiny.yaml", "--data.root", "empty", "--model.corruption", "denoise.corruptions.audio.Noise"],
            2,
            "cannot learn to undo Noise: sound goes with denoise.training.sound.SoundRestoration.",
        ),
        (["autoencoders/undercomplete", "--model.network.code", "0"], 2, "give whole numbers of at least 1"),
        (
            [
                "speech/denoise",
                "--data=denoise.training.data.PictureCrops",
                "--data.root=pictures",
                "--data.crop_px=32",
            ],
            2,
            "pictures go with denoise.training.modules.Restoration.",
        ),
    ],
)
def test_what_a_user_sees_of_a_mistake(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    exit_code: int,
    sentence: str,
) -> None:
    (folder / "empty").mkdir()
    monkeypatch.setattr(sys, "argv", ["denoise", "train", *arguments])
    with pytest.raises(SystemExit) as stopped:
        denoise()
    shown = capsys.readouterr().err
    assert stopped.value.code == exit_code
    assert sentence in shown
    assert "Traceback" not in shown
    assert len(shown.splitlines()) < 15


@pytest.mark.parametrize("error", [KeyboardInterrupt, SIGTERMException])
def test_an_interrupted_training_is_told_as_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: type[BaseException]
) -> None:
    def interrupted(*_: object) -> None:
        raise error

    monkeypatch.setattr(main.Restoration, "training_step", interrupted)
    before = signal.getsignal(signal.SIGINT)
    try:
        code = run(monkeypatch, "train", "tiny.yaml", "--data.root", "pictures")
    finally:
        signal.signal(signal.SIGINT, before)  # Lightning ignores it from then on
    assert code == 128 + (signal.SIGTERM if error is SIGTERMException else signal.SIGINT)
    assert "denoise: The training was stopped at once and saved nothing more.\n" in capsys.readouterr().err


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_training_is_saved_and_goes_on_as_if_it_had_not_been(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], signum: signal.Signals
) -> None:
    def stopped(module: main.Restoration, batch: Any, batch_idx: int) -> torch.Tensor:
        if (module.global_step, batch_idx % 2) == (2, 0):
            os.kill(os.getpid(), signum)
        return step(module, batch, batch_idx)

    _train("--trainer.max_steps", "4", "--trainer.accumulate_grad_batches", "2")
    last = folder / "runs/tiny/last.ckpt"
    whole = torch.load(last, weights_only=True)
    last.unlink()
    was = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
    step, handler = main.Restoration.training_step, signal.getsignal(signum)
    options = ["--data.root", "pictures", "--trainer.max_steps", "4", "--trainer.accumulate_grad_batches", "2"]
    with monkeypatch.context() as patch:
        patch.setattr(main.Restoration, "training_step", stopped)
        assert run(monkeypatch, "train", "tiny.yaml", *options) == 128 + signum
    assert signal.getsignal(signum) == handler
    signal.signal(signal.SIGINT, was)
    sentence = f"denoise: The training was stopped; step 3 is saved as {last}; go on with --ckpt_path last."
    assert sentence in capsys.readouterr().err.splitlines()
    _train(*options, "--ckpt_path", "last")
    resumed = torch.load(last, weights_only=True)
    assert resumed["global_step"] == 4
    for part in ("state_dict", "current_model_state", "averaging_state"):
        for key, value in whole[part].items():
            assert torch.equal(resumed[part][key], value), key


def test_recipes_are_found_by_path_or_name(folder: Path) -> None:
    assert find_recipe("tiny.yaml") == Path("tiny.yaml")
    for name in ("photo/gaussian", "photo/gaussian.yaml", "recipes/photo/gaussian.yaml"):
        found = find_recipe(name)
        assert found.name == "gaussian.yaml"
        assert main._public_name(found) == "recipes/photo/gaussian.yaml"
    assert main._public_name(folder / "tiny.yaml") == "tiny.yaml"
    checkout = folder / "checkout" / "recipes" / "photo"  # beside an installed package, which ships the same
    assert main._public_name(checkout / "denoise.yaml") == "recipes/photo/denoise.yaml"
    assert main._public_name(checkout / "my_own.yaml") == "my_own.yaml"
    for name in ("photo/nothing", "recipes", "recipes/", ".", "..", "/", ""):
        with pytest.raises(UsageError, match="photo/gaussian"):
            find_recipe(name)


def test_help_names_the_command_and_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        train(["--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    for text in (
        "usage: denoise train RECIPE --data.root DIR",
        "--init",
        "--ckpt_path",
        "--trainer.max_time",
        "--data",
    ):
        assert text in shown
