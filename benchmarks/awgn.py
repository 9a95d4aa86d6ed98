"""White Gaussian noise on clean pictures: PSNR and SSIM at known and at estimated level.

Protocol: noise not clipped, seeded by the file's name; output clipped and rounded to 8 bits; PSNR over all bands; means
of the scores of the pictures. For CBSD68, figures published by others stand below, as printed in their papers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _common import load_for, parser, record, report, run, write_json

from denoise.errors import MediaError
from denoise.evaluation.benchmark import Scores, evaluate

# PSNR in dB on CBSD68 at sigma 15, 25 and 50, as tabulated by Zhang et al., TPAMI 2021.
PUBLISHED = {
    "CBM3D (Dabov et al., ICIP 2007), quoted": (33.52, 30.71, 27.38),
    "FFDNet (Zhang et al., TIP 2018), quoted": (33.87, 31.21, 27.96),
    "DRUNet (Zhang et al., TPAMI 2021), quoted": (34.30, 31.69, 28.51),
}


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__, model="gaussian")
    options.add_argument("--data", type=Path, required=True, help="folder of clean pictures")
    options.add_argument("--sigmas", type=float, nargs="+", default=[10.0, 15.0, 25.0, 50.0], help="levels, 0..255")
    options.add_argument("--ensemble", type=int, default=1, help="views to average over: 1, 2, 4 or 8")
    options.add_argument("--record", action="store_true", help="also put the numbers on the card of the weights")
    chosen = options.parse_args(arguments)
    restorer = load_for("image", chosen.model, dtype=chosen.dtype, ensemble=chosen.ensemble)

    known: dict[float, Scores] = {}
    estimated: dict[float, Scores] = {}
    for sigma in chosen.sigmas:
        known[sigma] = _of_all(evaluate(restorer, chosen.data, f"gaussian:sigma={sigma:g}", sigma))
        estimated[sigma] = _of_all(evaluate(restorer, chosen.data, f"gaussian:sigma={sigma:g}", "auto"))

    first = next(iter(known.values()))
    views = f", mean of {chosen.ensemble} views" if chosen.ensemble > 1 else ""
    print(f"{restorer!r}{views}, {first.pictures} pictures of {chosen.data.name}; PSNR in dB / SSIM")
    scores = [
        _row("noisy", known, lambda s: f"{s.noisy_psnr_db:.2f} / {s.noisy_ssim:.4f}"),
        _row("ours, level known", known, _quality),
        _row("ours, level estimated", estimated, _quality),
    ]
    if "cbsd68" in chosen.data.name.lower():
        for name, figures in PUBLISHED.items():
            quoted = dict(zip((15.0, 25.0, 50.0), figures, strict=True))
            cells = {f"sigma {s:g}": f"{quoted[s]:.2f}" if s in quoted else None for s in known}
            scores.append({"method": name, **cells})
    report(scores, "Quality")
    levels = [
        _row("estimated level, mean", estimated, lambda s: f"{s.sigma:.2f}"),
        _row("error of the estimate, mean", estimated, lambda s: f"{s.sigma_error:.2%}"),
        _row("level known, megapixels/s", known, lambda s: f"{s.megapixels_per_s:.3f}"),
        _row("level estimated, megapixels/s", estimated, lambda s: f"{s.megapixels_per_s:.3f}"),
    ]
    report(levels, "Noise level and speed")
    if chosen.record:
        pairs = {f"sigma {s:g}": (known[s].psnr_db, estimated[s].psnr_db) for s in known}
        measured = {level: f"{told:.2f} known, {guessed:.2f} estimated" for level, (told, guessed) in pairs.items()}
        record(chosen.model, f"PSNR dB, {chosen.data.name}, white noise{views}", measured)
    write_json(
        chosen.json,
        model=repr(restorer),
        ensemble=chosen.ensemble,
        data=chosen.data.name,
        known=[vars(scores) for scores in known.values()],
        estimated=[vars(scores) for scores in estimated.values()],
    )


def _of_all(scores: Scores) -> Scores:
    """The same; raises MediaError when a picture was left out, for then the mean is that of another set."""
    if scores.failures:
        raise MediaError(next(iter(scores.failures.values())))
    return scores


def _row(name: str, results: dict[float, Scores], text: Any) -> dict[str, Any]:
    return {"method": name, **{f"sigma {sigma:g}": text(scores) for sigma, scores in results.items()}}


def _quality(scores: Scores) -> str:
    return f"{scores.psnr_db:.2f} / {scores.ssim:.4f}"


if __name__ == "__main__":
    run(main)
