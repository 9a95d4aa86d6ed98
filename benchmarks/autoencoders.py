"""The autoencoder family beside principal components: reconstruction, anomalies, retrieval, denoising, constraints.

Every member is trained on the training pictures alone and its labels are used only to choose the class of a detector
and to count: nothing is chosen by the test pictures. All errors are on the test pictures, 0..1.

- reconstruction: mean squared error.
- anomalies: a model of each class, trained on the training pictures of that class; AUROC of all test pictures, the
  other classes against this one, mean over the classes. Scores as in `denoise detect`: the error of the reconstruction,
  the distance of the code from the nearest three of the training pictures, both after scaling codes to length 1, and
  the root of the error times that distance.
- retrieval: share of the ten training pictures of nearest code (cosine) that are of the class of a test picture.
- denoising: PSNR of noise with a sigma of 0.5, clipped to 0..1, of the mean squared error. Members that are not trained
  to denoise are shown for comparison.
- active: share of the activations over a hundredth of the largest; rate: mean activation of a unit, the lowest and the
  highest of all units; slope: squared Frobenius norm of the encoder's Jacobian.
- overlap: of the tenth of the units that are most active for a class with that of another class (intersection over
  union, mean over pairs), beside that of two halves of the pictures of one class.

A second run of the same command gives the same numbers on the same machine. Seconds are of the processor.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import lightning as L
import numpy as np
import torch
from _common import report, run, write_json
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn import functional as F

from denoise.corruptions.base import Compose, Corrupted, Corruption, Params
from denoise.corruptions.image import Gaussian
from denoise.detection_maps import code_distance, combined
from denoise.networks.autoencoder import Autoencoder
from denoise.networks.penalties import Contractive, KLCode, L1Code, estimate_jacobian_norm
from denoise.tour.training import quiet
from denoise.training.arrays import Arrays, Split, load_arrays, load_digits
from denoise.training.autoencoders import (
    ContractiveAutoencoder,
    DenoisingAutoencoder,
    RegularizedAutoencoder,
    SparseAutoencoder,
    UndercompleteAutoencoder,
)

NOISE = 0.5
RHO = 0.05
_CHUNK = 500


class Warp(Corruption):
    """A picture that was shifted by up to 1.5 pixels, turned and sheared by up to 9 and 11 degrees, and scaled by 12 %.

    To find the original again the code has to do without what a hand does by chance: how the digit stands.
    """

    def draw(self, clean: Tensor, generator: torch.Generator) -> Params:
        """An affine map for each picture, `[B, 2, 3]`, where a picture goes from -1 to 1."""
        shift, turn, scale, shear = 3 / clean.shape[-1], 0.15, 0.12, 0.2

        def lot(*shape: int) -> Tensor:
            return torch.rand(len(clean), *shape, generator=generator) * 2 - 1

        angle, size = lot() * turn, 1 + lot() * scale
        first = torch.stack([angle.cos() * size, -angle.sin() * size + lot() * shear], dim=1)
        second = torch.stack([angle.sin() * size, angle.cos() * size], dim=1)
        return {"maps": torch.cat([torch.stack([first, second], dim=1), lot(2, 1) * shift], dim=2)}

    def apply(self, clean: Tensor, params: Params) -> Corrupted:  # type: ignore[override]
        """The warped picture, to be straightened."""
        grid = F.affine_grid(params["maps"].to(clean), list(clean.shape), align_corners=False)
        return Corrupted(F.grid_sample(clean, grid, align_corners=False), None, clean)


@dataclass(frozen=True)
class Member:
    """One of the family.

    Args:
        build: makes the training for pictures of a side; the learning rate stands there.
        steps: of the training on all classes.
        class_steps: of that on one class; 0 for no detector of anomalies.
        precision: of Lightning's trainer.
    """

    build: Callable[[int], RegularizedAutoencoder]
    steps: int = 600
    class_steps: int = 150
    precision: Any = "32-true"


def _net(side: int, code: int, activation: str = "none") -> Autoencoder:
    return Autoencoder(1, (16, 32), code, side, activation)


def _grid(widths: Sequence[int], code: int, activation: str = "none", depth: int = 0) -> Autoencoder:
    return Autoencoder(1, widths, code, activation=activation, depth=depth)


FAMILY: dict[str, Member] = {
    "linear undercomplete, 32": Member(
        lambda side: UndercompleteAutoencoder(Autoencoder(1, (), 32, side), lr=4e-3), class_steps=200
    ),
    "undercomplete, 32": Member(lambda side: UndercompleteAutoencoder(_net(side, 32), lr=4e-3)),
    "dense, 1024": Member(lambda side: RegularizedAutoencoder(_net(side, 1024), lr=4e-3), class_steps=0),
    "dense, 128 every 4 pixels, ReLU": Member(
        lambda side: RegularizedAutoencoder(_grid((16, 32), 128, "relu"), lr=2e-3),  # noqa: ARG005
        steps=1200,
        class_steps=0,
    ),
    "sparse (L1), 128 every 4 pixels, ReLU": Member(
        lambda side: SparseAutoencoder(_grid((16, 32), 128, "relu"), L1Code(weight=3e-4), lr=2e-3),  # noqa: ARG005
        steps=1200,
        class_steps=0,
    ),
    "dense, 128, sigmoid": Member(
        lambda side: RegularizedAutoencoder(_net(side, 128, "sigmoid"), lr=4e-3), class_steps=0
    ),
    "sparse (KL), 128, sigmoid": Member(
        lambda side: SparseAutoencoder(_net(side, 128, "sigmoid"), KLCode(RHO, weight=3e-3), lr=4e-3)
    ),
    "contractive, 128, sigmoid": Member(
        lambda side: ContractiveAutoencoder(_net(side, 128, "sigmoid"), Contractive(weight=3e-4), lr=4e-3)
    ),
    "denoising, 64": Member(
        lambda side: DenoisingAutoencoder(_net(side, 64), Gaussian(0.7 * 255), lr=4e-3), steps=1500
    ),
    "denoising, 64, noise and warps": Member(
        lambda side: DenoisingAutoencoder(_net(side, 64), Compose([Warp(), Gaussian((0, 0.7 * 255))]), lr=4e-3),
        steps=1800,
        class_steps=0,
    ),
    "denoising + contractive, 128, sigmoid": Member(
        lambda side: ContractiveAutoencoder(
            _net(side, 128, "sigmoid"), Contractive(weight=3e-4), corruption=Gaussian(NOISE * 255), lr=4e-3
        )
    ),
    "denoising, 32 every 4 pixels": Member(
        lambda side: DenoisingAutoencoder(_grid((32, 64), 32, depth=1), Gaussian(NOISE * 255), lr=2e-3),  # noqa: ARG005
        steps=1000,
        class_steps=0,
        precision="bf16-mixed",
    ),
}


def main(arguments: Sequence[str] | None = None) -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", type=Path, help="digits.npz; without it the 8x8 digits of scikit-learn")
    options.add_argument("--models", nargs="+", choices=list(FAMILY), default=list(FAMILY), metavar="MEMBER")
    options.add_argument("--shorten", type=float, default=1.0, help="multiplies all numbers of steps")
    options.add_argument("--json", type=Path, help="also write the numbers to this file")
    chosen = options.parse_args(arguments)
    torch.set_num_threads(1)
    split = load_digits() if chosen.data is None else load_arrays(chosen.data)
    print(
        f"{len(split.train)} training and {len(split.test)} test pictures of {split.test.shape[-1]} pixels, one thread"
    )

    began = time.process_time()
    rows, constraints = principal_components(split), []
    for name in chosen.models:
        member = FAMILY[name]
        row, network = measure(name, member, chosen.data, split, chosen.shorten)
        rows.append(row)
        constraints.append({"member": name, **constraint_figures(network, split)})
        figures = {key: value for key, value in (row | constraints[-1]).items() if isinstance(value, float)}
        print(f"{name}: {', '.join(f'{key} {value:.4g}' for key, value in figures.items())}", flush=True)
    report(rows, "The family beside principal components")
    report(constraints, "What the constraints do")
    print(f"\n{(time.process_time() - began) / 60:.1f} minutes of the processor")
    write_json(chosen.json, data=str(chosen.data), rows=rows, constraints=constraints)


def measure(
    name: str, member: Member, data: Path | None, split: Split, shorten: float = 1.0
) -> tuple[dict[str, Any], Autoencoder]:
    """Train a member on everything and on each class; its row of the table, and the network of everything."""
    began = time.process_time()
    side = split.train.shape[-1]
    network = train(member, side, data, None, max(1, round(member.steps * shorten)))
    restored = restore(network, split.test)
    known, asked = encode(network, split.train), encode(network, split.test)
    row = _row(
        name,
        float((restored - split.test).square().mean()),
        precision_at_ten(asked, known, split),
        psnr_db(restore(network, noisy(split.test)), split.test),
    )
    if member.class_steps:
        steps = max(1, round(member.class_steps * shorten))

        def examine(label: int, usual: Tensor) -> tuple[Tensor, Tensor]:
            detector = train(member, side, data, [label], steps)
            errors = (restore(detector, split.test) - split.test).square().mean((1, 2, 3))
            return errors, code_distance(encode(detector, split.test), encode(detector, usual))

        row |= anomalies(split, examine)
    return row | {"cpu s": time.process_time() - began}, network


def train(member: Member, side: int, data: Path | None, classes: list[int] | None, steps: int) -> Autoencoder:
    """A member trained on some classes, ready to use."""
    torch.manual_seed(0)
    module = member.build(side)
    with quiet():
        trainer = L.Trainer(
            accelerator="cpu",
            max_steps=steps,
            precision=member.precision,
            gradient_clip_val=1.0,
            limit_val_batches=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module, datamodule=Arrays(data, classes, batch_size=64))
    return module.network.eval().requires_grad_(False)


def principal_components(split: Split) -> list[dict[str, Any]]:
    """The rows of PCA, by the same scores, and of the isolation forest."""
    train, test = split.train.flatten(1), split.test.flatten(1)
    began = time.process_time()
    rows = []
    for count in sorted({min(count, test.shape[1] // 2) for count in (32, 64)}):
        whole = PCA(count, random_state=0).fit(train)
        row = _row(
            f"PCA-{count}",
            float((_project(whole, test) - test).square().mean()),
            precision_at_ten(_as_codes(whole, test), _as_codes(whole, train), split, cosine=False),
            psnr_db(_project(whole, noisy(split.test).flatten(1)).view_as(split.test), split.test),
        )

        def examine(label: int, usual: Tensor, count: int = count) -> tuple[Tensor, Tensor]:  # noqa: ARG001
            own = PCA(min(count, len(usual)), random_state=0).fit(usual.flatten(1))
            errors = (_project(own, test) - test).square().mean(1)
            return errors, code_distance(_as_codes(own, test), _as_codes(own, usual.flatten(1)))

        rows.append(row | anomalies(split, examine) | {"cpu s": time.process_time() - began})
        began = time.process_time()

    def isolate(label: int, usual: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG001
        forest = IsolationForest(random_state=0).fit(usual.flatten(1).numpy())
        return torch.from_numpy(-forest.score_samples(test.numpy())).clamp_min(0), torch.zeros(len(test))

    found = anomalies(split, isolate)["AUROC error"]
    rows.append(_row("IsolationForest (AUROC by its own score)", None, None, None) | {"AUROC error": found})
    rows[-1]["cpu s"] = time.process_time() - began
    return rows


def anomalies(split: Split, examine: Callable[[int, Tensor], tuple[Tensor, Tensor]]) -> dict[str, float]:
    """Mean AUROC over the classes of three scores; `examine(class, its pictures)` gives errors and code distances."""
    assert split.train_labels is not None
    assert split.test_labels is not None
    areas: dict[str, list[float]] = {"AUROC error": [], "AUROC code": [], "AUROC both": []}
    for label in sorted(set(split.test_labels.tolist())):
        errors, distances = examine(label, split.train[split.train_labels == label])
        other = (split.test_labels != label).numpy()
        for name, scores in zip(areas, (errors, distances, combined(errors, distances)), strict=True):
            areas[name].append(float(roc_auc_score(other, scores.numpy())))
    return {name: fmean(values) for name, values in areas.items()}


def precision_at_ten(asked: Tensor, known: Tensor, split: Split, cosine: bool = True) -> float:
    """Share of the ten nearest training pictures that are of the class of a test picture. Shape: `[N, K]`, `[M, K]`."""
    assert split.train_labels is not None
    assert split.test_labels is not None
    if cosine:
        asked, known = F.normalize(asked), F.normalize(known)
    nearest = torch.cat(
        [torch.cdist(part, known).topk(10, largest=False).indices for part in torch.split(asked, _CHUNK)]
    )
    return float((split.train_labels[nearest] == split.test_labels[:, None]).float().mean())


def constraint_figures(network: Autoencoder, split: Split) -> dict[str, Any]:
    """Sparsity, rates, overlap of the classes and slope of a code. Shape of the pictures: `[N, 1, H, W]`."""
    assert split.test_labels is not None
    code = encode(network, split.test)
    # Of a grid of code vectors the rate of a unit is over all places; for the overlap it is another unit at each.
    rates = code.view(len(code), network.config["code"], -1).mean((0, 2))  # type: ignore[call-overload]
    slopes = estimate_jacobian_norm(network, split.test[:_CHUNK], torch.Generator().manual_seed(0), samples=16)
    between, within = overlaps(code.abs(), split.test_labels)
    return {
        "active": float((code.abs() > 0.01 * code.abs().max()).float().mean()),
        "rate": float(rates.mean()) if network.activation == "sigmoid" else None,
        "lowest": float(rates.min()) if network.activation == "sigmoid" else None,
        "highest": float(rates.max()) if network.activation == "sigmoid" else None,
        "overlap of classes": between,
        "within a class": within,
        "slope": float(slopes.detach().mean()),
    }


def overlaps(strength: Tensor, labels: Tensor) -> tuple[float, float]:
    """Overlap of the most active tenth of the units, between classes and between halves of each. Shape: `[N, K]`."""
    count = max(1, strength.shape[1] // 10)

    def strongest(chosen: Tensor) -> set[int]:
        return set(chosen.mean(0).topk(count).indices.tolist())

    halves = [strength[labels == label] for label in sorted(set(labels.tolist()))]
    first, second = ([strongest(part[k::2]) for part in halves] for k in (0, 1))
    between = [_overlap(a, b) for a, b in itertools.combinations(first, 2)]
    return fmean(between), fmean(_overlap(a, b) for a, b in zip(first, second, strict=True))


def _overlap(first: set[int], second: set[int]) -> float:
    return len(first & second) / len(first | second)


def noisy(pictures: Tensor) -> Tensor:
    """With white noise, not clipped."""
    return pictures + NOISE * torch.randn(pictures.shape, generator=torch.Generator().manual_seed(0))


def psnr_db(restored: Tensor, clean: Tensor) -> float:
    """Of the mean squared error of all pictures together, clipped to 0..1."""
    return -10 * float((restored.clamp(0, 1) - clean).square().mean().log10())


def restore(network: Autoencoder, pictures: Tensor) -> Tensor:
    """Shape: `[N, 1, H, W]` in and out."""
    return torch.cat([network(part) for part in torch.split(pictures, _CHUNK)])


def encode(network: Autoencoder, pictures: Tensor) -> Tensor:
    """Shape: `[N, 1, H, W] -> [N, K h w]`."""
    return torch.cat([network.encode(part).flatten(1) for part in torch.split(pictures, _CHUNK)])


def _project(pca: Any, pictures: Tensor) -> Tensor:
    return torch.from_numpy(pca.inverse_transform(pca.transform(pictures.numpy()))).float()


def _as_codes(pca: Any, pictures: Tensor) -> Tensor:
    return torch.from_numpy(pca.transform(pictures.numpy()).astype(np.float32))


def _row(name: str, error: float | None, precision: float | None, denoised_db: float | None) -> dict[str, Any]:
    return {
        "member": name,
        "error": error,
        "AUROC error": None,
        "AUROC code": None,
        "AUROC both": None,
        "precision@10": precision,
        "denoised dB": denoised_db,
        "cpu s": None,
    }


if __name__ == "__main__":
    run(main)
