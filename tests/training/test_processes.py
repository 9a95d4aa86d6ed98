"""Trainings that are killed, and trainings in several processes."""

import csv
import os
import subprocess
import sys
import time
from pathlib import Path

import torch

from denoise.training.main import PACKAGE, train

# Each process leaves its weights and the sums of the crops it saw.
SCRIPT = """
import sys
import torch
from denoise.training.main import train
from denoise.training.modules import Restoration

def on_train_batch_end(self, outputs, batch, batch_idx):
    self.__dict__.setdefault("seen", []).append(batch.sum().item())

def on_fit_end(self):
    state = {"weights": self.state_dict(), "seen": self.seen}
    torch.save(state, f"rank{self.global_rank}.pt")

Restoration.on_train_batch_end = on_train_batch_end
Restoration.on_fit_end = on_fit_end
train(sys.argv[1:])
"""


def _start(folder: Path, *options: str) -> "subprocess.Popen[str]":
    (folder / "run.py").write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "run.py", "tiny.yaml", "--data.root", "pictures", *options]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=folder, env=environment, **streams)


def test_a_killed_training_goes_on_where_it_was_saved(folder: Path) -> None:
    recipe = folder / "tiny.yaml"
    recipe.write_text(recipe.read_text().replace("every_n_train_steps: 2", "every_n_train_steps: 20"))
    last = folder / "runs/tiny/last.ckpt"
    process = _start(folder, "--trainer.max_steps", "100000", "--trainer.val_check_interval", "10000")
    try:
        until = time.monotonic() + 120
        while not last.exists() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
    finally:
        process.kill()
        output, _ = process.communicate()
    assert last.exists(), output
    saved = torch.load(last, weights_only=True)
    step = saved["global_step"]
    assert step % 20 == 0
    train(["tiny.yaml", "--data.root", "pictures", "--ckpt_path", "last", "--trainer.max_steps", str(step + 3)])
    resumed = torch.load(last, weights_only=True)
    assert resumed["global_step"] == step + 3
    assert resumed["averaging_state"]["n_averaged"] == saved["averaging_state"]["n_averaged"] + 3
    with (folder / "runs/tiny/version_1/metrics.csv").open() as file:
        steps = {int(row["step"]) for row in csv.DictReader(file) if row["train/loss"]}
    assert steps == {step, step + 1, step + 2}


def test_two_processes_see_different_crops_and_keep_the_same_weights(folder: Path) -> None:
    options = ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--trainer.max_time", "00:00:05:00"]
    process = _start(folder, *options)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    first, second = (torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    assert len(first["seen"]) == len(second["seen"]) == 2
    assert set(first["seen"]).isdisjoint(second["seen"])
    for name, value in first["weights"].items():
        assert torch.equal(value, second["weights"][name]), name
    assert len(list((folder / "runs/tiny").rglob("*.png"))) == 1
    for noise in ("litlogger", "LeafSpec", "many workers", "Traceback"):
        assert noise not in output
