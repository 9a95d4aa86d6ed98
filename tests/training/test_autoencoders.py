import csv
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from denoise import pretrained
from denoise.corruptions.image import Gaussian
from denoise.errors import DenoiseError, UsageError
from denoise.networks.autoencoder import Autoencoder
from denoise.networks.penalties import Contractive, KLCode, L1Code
from denoise.training.autoencoders import (
    ContractiveAutoencoder,
    DenoisingAutoencoder,
    RegularizedAutoencoder,
    SparseAutoencoder,
    UndercompleteAutoencoder,
)
from denoise.training.export import export
from denoise.training.main import train


def _network(code: int = 6, activation: str = "sigmoid") -> Autoencoder:
    torch.manual_seed(0)
    return Autoencoder(1, widths=(4,), code=code, side=8, activation=activation)


def _outside(module: RegularizedAutoencoder, monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Let a module run outside of a training, and return where it logs."""
    logged: dict[str, float] = {}
    module._trainer = SimpleNamespace(
        global_step=3,
        global_rank=0,
        accumulate_grad_batches=1,
        barebones=False,
        ckpt_path=None,
        strategy=SimpleNamespace(checkpoint_io=None),
    )
    kind = type(module)
    monkeypatch.setattr(kind, "global_step", property(lambda self: self._trainer.global_step))
    monkeypatch.setattr(kind, "log", lambda _, name, value, **__: logged.update({name: float(value.detach())}))
    return logged


def _clean(batch: int = 4) -> Tensor:
    return torch.rand(batch, 1, 8, 8, generator=torch.Generator().manual_seed(0))


FAMILY = [
    (UndercompleteAutoencoder, {}, {}),
    (SparseAutoencoder, {"sparsity": L1Code(weight=0.5)}, {"l1": 0.5}),
    (SparseAutoencoder, {"sparsity": KLCode(weight=2)}, {"kl": 2}),
    (DenoisingAutoencoder, {"corruption": Gaussian(50)}, {}),
    (ContractiveAutoencoder, {"contraction": Contractive("exact", weight=3)}, {"contraction": 3}),
    (ContractiveAutoencoder, {"contraction": Contractive(), "corruption": Gaussian(50)}, {"contraction": 1}),
    (
        ContractiveAutoencoder,
        {"contraction": Contractive(), "corruption": Gaussian(50), "penalties": [L1Code(), KLCode()]},
        {"contraction": 1, "l1": 1, "kl": 1},
    ),
]


@pytest.mark.parametrize(("kind", "settings", "weights"), FAMILY)
def test_the_loss_is_the_reconstruction_and_the_weighted_penalties(
    kind: type[RegularizedAutoencoder], settings: dict, weights: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = kind(_network(), **settings)
    logged = _outside(module, monkeypatch)
    loss = module.training_step(_clean(), 0)
    assert set(logged) == {"train/loss", "train/reconstruction", *(f"train/{name}" for name in weights)}
    whole = logged["train/reconstruction"] + sum(weight * logged[f"train/{name}"] for name, weight in weights.items())
    assert loss.item() == pytest.approx(logged["train/loss"]) == pytest.approx(whole)
    loss.backward()
    assert all(weight.grad.isfinite().all() and weight.grad.any() for weight in module.network.parameters())
    assert module.training_step(_clean(), 0) == loss  # whatever it draws
    module.trainer.global_step = 4
    assert (module.training_step(_clean(), 0) != loss) == ("corruption" in settings)


def test_the_target_is_the_clean_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    module = DenoisingAutoencoder(_network(), corruption=Gaussian(50))
    logged = _outside(module, monkeypatch)
    module.training_step(_clean(), 0)
    observed = module.corruption(_clean(), module.generator(torch.device("cpu"), module._number(0))).observed
    error = (module.network(observed) - _clean()).square().mean()
    assert logged["train/reconstruction"] == pytest.approx(error.item())


def test_a_bottleneck_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    module = UndercompleteAutoencoder(_network(code=64))
    _outside(module, monkeypatch)
    with pytest.raises(UsageError, match="A code of 64 numbers for a signal of 64 is no bottleneck"):
        module.training_step(_clean(), 0)


def test_a_loss_that_is_no_number_stops_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    module = SparseAutoencoder(_network(), L1Code())
    _outside(module, monkeypatch)
    with pytest.raises(DenoiseError, match=r"The loss became nan at step 3; train with a lower --model.lr"):
        module.training_step(_clean() * math.nan, 0)


def test_a_training_becomes_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = {"max_steps": 3, "val_check_interval": 3, "log_every_n_steps": 1, "limit_val_batches": 1}
    options |= {"accelerator": "cpu", "enable_progress_bar": "false", "num_sanity_val_steps": 0}
    penalty: list[Any] = [
        "--model.sparsity.weight",
        "0.25",
        "--model.penalties+=denoise.networks.penalties.Contractive",
    ]
    arguments = [item for key, value in options.items() for item in (f"--trainer.{key}", str(value))]
    train(["autoencoders/sparse_kl", *arguments, *penalty, "--data.batch_size", "4"])
    with next(tmp_path.rglob("metrics.csv")).open() as file:
        rows = [row for row in csv.DictReader(file) if row["train/loss"]]
    assert len(rows) == 3
    for row in rows:
        parts = [float(row[f"train/{name}"]) for name in ("reconstruction", "kl", "contraction")]
        assert float(row["train/loss"]) == pytest.approx(parts[0] + 0.25 * parts[1] + parts[2], rel=1e-5)
    (tmp_path / "card.yaml").write_text("{summary: Tiny, licence: CC0-1.0, data: [digits], limits: [all]}")
    checkpoint = next(tmp_path.rglob("last.ckpt"))
    weights = pretrained.load(export(checkpoint, tmp_path / "weights", tmp_path / "card.yaml"))
    assert isinstance(weights.network, Autoencoder)
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    for name, value in weights.network.state_dict().items():
        torch.testing.assert_close(value, state[f"network.{name}"], rtol=1e-3, atol=1e-6)
    assert weights.card.metrics["validation"].keys() == {"val/psnr_clean_db"}


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_the_optimizer_is_chosen_as_for_every_training(optimizer: Any) -> None:
    module = DenoisingAutoencoder(Autoencoder(channels=1, widths=(4,)), Gaussian(25), optimizer=optimizer)
    assert type(module.configure_optimizers()).__name__.lower() == optimizer
