"""Trainings that are stopped from outside: by signals, by a terminal that closes, by the loss of a worker."""

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch.utils.data import DataLoader

from denoise.training import stopping
from denoise.training.batches import Endless, LostWorkerError, load
from denoise.training.main import PACKAGE
from tests.conftest import run

BEGINS = """
import fcntl, signal, sys, termios
if sys.stdin.isatty():
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGHUP, signal.SIG_IGN if sys.argv.pop(1) == "nohup" else signal.SIG_DFL)
from denoise.cli import main
main()
"""
OPTIONS = ["--data.root", "pictures", "--trainer.max_steps", "100000", "--trainer.val_check_interval", "10000"]


def _start(folder: Path, how: str, *options: str, **streams: int) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", BEGINS, how, "train", "tiny.yaml", *OPTIONS, *options]
    return subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True, **streams)


def _until_saved(folder: Path, process: "subprocess.Popen[bytes]") -> Path:
    last = folder / "runs/tiny/last.ckpt"
    until = time.monotonic() + 120
    while not last.exists() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    assert last.exists()
    return last


def test_a_terminal_that_closes_has_the_step_saved(folder: Path) -> None:
    recipe = folder / "tiny.yaml"
    recipe.write_text(recipe.read_text().replace("enable_progress_bar: false", "enable_progress_bar: true"))
    terminal, end = pty.openpty()
    with _start(folder, "plain", "--data.workers", "1", stdin=end, stdout=end, stderr=end) as process:
        os.close(end)
        last = _until_saved(folder, process)
        before = torch.load(last, weights_only=True)["global_step"]
        os.close(terminal)
        assert process.wait(60) == 128 + signal.SIGHUP
    assert torch.load(last, weights_only=True)["global_step"] > before


def test_nohup_stays_and_a_lost_worker_has_the_step_saved(folder: Path) -> None:
    with _start(folder, "nohup", "--data.workers", "1", stderr=subprocess.PIPE, stdin=subprocess.DEVNULL) as process:
        last = _until_saved(folder, process)
        process.send_signal(signal.SIGHUP)
        time.sleep(1)
        assert process.poll() is None
        for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
            os.kill(int(child), signal.SIGKILL)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    told = errors.decode().splitlines()[-1]
    step = torch.load(last, weights_only=True)["global_step"]
    assert told.startswith("denoise: A process that makes batches was ended from outside, perhaps for want of memory;")
    assert told.endswith(f"Now step {step} is saved as {last}; go on with --ckpt_path last.")
    assert b"Traceback" not in errors


def test_a_second_ctrl_c_does_not_cut_the_save_short(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*arguments: object) -> None:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
        save(*arguments)

    save, step = torch.save, stopping.SaveWhenStopped.on_train_batch_end

    def stopped(callback: stopping.SaveWhenStopped, *arguments: object) -> None:
        monkeypatch.setattr(torch, "save", interrupted)
        os.kill(os.getpid(), signal.SIGINT)
        step(callback, *arguments)

    monkeypatch.setattr(stopping.SaveWhenStopped, "on_train_batch_end", stopped)
    was = signal.signal(signal.SIGINT, signal.default_int_handler)
    assert run(monkeypatch, "train", "tiny.yaml", *OPTIONS) == 128 + signal.SIGINT
    signal.signal(signal.SIGINT, was)
    assert "denoise: The training was stopped; step 1 is saved as" in capsys.readouterr().err
    assert torch.load("runs/tiny/last.ckpt", weights_only=True)["global_step"] == 1


@pytest.mark.parametrize(
    ("ended", "signum"),
    [
        (SystemExit(1), signal.SIGINT),
        (SystemExit(130), signal.SIGINT),
        (SystemExit(143), signal.SIGTERM),
        (SystemExit(129), signal.SIGHUP),
        (SIGTERMException(), signal.SIGTERM),
    ],
)
def test_what_ended_a_training(ended: SystemExit, signum: int) -> None:
    assert stopping.what_ended(ended) == signum


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly"), LostWorkerError),
        (ConnectionResetError(104, "Connection reset by peer"), LostWorkerError),
        (FileNotFoundError(2, "No such file or directory"), LostWorkerError),
        (EOFError(), LostWorkerError),
        (RuntimeError("Caught RuntimeError in DataLoader worker process 0."), RuntimeError),
        (FileNotFoundError("Caught FileNotFoundError in DataLoader worker process 0."), FileNotFoundError),
    ],
)
def test_a_lost_worker_is_told_from_its_errors(
    monkeypatch: pytest.MonkeyPatch, error: Exception, raised: type[Exception]
) -> None:
    def broken(_: object) -> Iterator[object]:
        yield 1
        raise error

    monkeypatch.setattr(DataLoader, "__iter__", broken)
    batches = iter(load(Endless(None), 1))  # type: ignore[arg-type]
    assert next(batches) == 1
    with pytest.raises(raised):
        next(batches)
