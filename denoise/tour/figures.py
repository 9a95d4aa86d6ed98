"""The figures of the tour: one function for each, from what was measured to a matplotlib Figure."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from torch import Tensor

from denoise.networks.autoencoder import Autoencoder
from denoise.networks.penalties import KLCode
from denoise.tour import digits, plane

INK, GRAY, BLUE, ORANGE, GREEN = "#1f2937", "#9ca3af", "#2563eb", "#ea580c", "#0f766e"
_WIDE = (9.6, 4.2)
_GOOD_TO_BAD = LinearSegmentedColormap.from_list("good to bad", [BLUE, "#a855f7", ORANGE])


def line_and_curve(measured: plane.LineAndCurve) -> Figure:
    """Points, the line of PCA and the curve of the autoencoder; and how far off each is."""
    figure = Figure(_WIDE, layout="constrained")
    left, right = _axes(figure, "What a code of one number can say", "How far off it is")
    left.scatter(measured.test[:, 0], measured.test[:, 1], s=9, color=GRAY, label="points")
    left.plot(*measured.line.T, color=ORANGE, lw=2.5, label="PCA: a line")
    left.plot(*measured.bent.T, color=BLUE, lw=2.5, label="autoencoder: a curve")
    left.set(xlabel="first coordinate", ylabel="second coordinate", aspect="equal")
    left.set_ylim(-0.02, 1.12)
    left.legend(frameon=False, fontsize=9, loc="upper left")
    names = ["PCA", "linear\nautoencoder", "autoencoder"]
    bars = right.bar(
        names, [measured.pca, measured.linear, measured.curved], color=[ORANGE, "#fdba74", BLUE], width=0.6
    )
    right.bar_label(bars, fmt="%.3f", padding=2, color=INK)
    right.axhline(plane.SCATTER, color=INK, ls="--", lw=1.2, label="scatter of the points around the curve")
    right.legend(frameon=False, fontsize=9, loc="upper right")
    right.set(ylabel="root mean square distance", xlim=(-0.5, 2.5))
    right.margins(y=0.25)
    return figure


def code_sizes(measured: digits.Sizes) -> Figure:
    """Error by length of the code, and digits that were said by a short one."""
    figure = Figure(_WIDE, layout="constrained")
    left, right = _axes(figure, "Error by length of the code", f"Said by {measured.shown} numbers")
    left.plot(measured.sizes, measured.pca, "o-", color=ORANGE, lw=2, label="PCA")
    left.plot(
        list(measured.linear), list(measured.linear.values()), "x", color=INK, ms=9, mew=2, label="linear autoencoder"
    )
    left.plot(measured.sizes, measured.deep, "o-", color=BLUE, lw=2, label="convolutional autoencoder")
    left.set_xscale("log", base=2)
    left.set_yscale("log")
    left.set_xticks(measured.sizes, [str(size) for size in measured.sizes])
    left.set(xlabel="numbers in the code", ylabel="mean squared error a pixel (black 0, white 1)")
    left.legend(frameon=False, fontsize=9)
    made = {"original": measured.originals, "PCA": measured.by_pca, "auto-\nencoder": measured.by_deep}
    _rows(right, {name: row[::2] for name, row in made.items()})
    return figure


def rates(measured: digits.Rates) -> Figure:
    """The KL penalty as a function of the mean activation, and what it does to the units."""
    figure = Figure(_WIDE, layout="constrained")
    left, right = _axes(figure, "The KL penalty of one unit", "Mean activation of the 128 units, test digits")
    rate = torch.linspace(0.001, 0.999, 500)
    for rho, color in ((0.05, BLUE), (0.2, GREEN), (0.5, ORANGE)):
        left.plot(rate, kl(rate, rho), color=color, lw=2, label=f"ρ = {rho:g}")
        left.plot(rho, 0, "o", color=color)
    left.set(xlabel="mean activation of the unit", ylabel="penalty", ylim=(-0.08, 2.5))
    left.legend(frameon=False, title="wanted rate")
    bins = [k / 40 for k in range(41)]
    right.hist(measured.free.numpy(), bins, color=ORANGE, alpha=0.75, label="without the penalty")
    right.hist(measured.held.numpy(), bins, color=BLUE, alpha=0.85, label="with it")
    right.axvline(digits.RHO, color=INK, ls="--", lw=1.2, label=f"wanted: {digits.RHO:g}")
    right.set(xlabel="mean activation", ylabel="units")
    right.legend(frameon=False)
    return figure


def kl(rate: Tensor, rho: float) -> Tensor:
    """The penalty of one unit, as the trainings use it. Shape: `[N] -> [N]`."""
    network = Autoencoder(1, widths=(), code=1, side=1, activation="sigmoid")
    penalty, generator = KLCode(rho), torch.Generator()
    return torch.stack([penalty(network, one, one.reshape(1, 1, 1, 1), generator) for one in rate])


def activations(measured: digits.Activations) -> Figure:
    """The codes of ten digits as rows, dense above sparse."""
    figure = Figure((9.6, 4.8), layout="constrained")
    upper, lower = figure.subplots(2, 1)
    for axes, code, name, share in (
        (upper, measured.dense, "Dense: no penalty", measured.dense_share),
        (lower, measured.sparse, "Sparse: L1 penalty", measured.sparse_share),
    ):
        code = code / code.max()
        used = code.amax(0)
        order = (torch.where(used > 0, code.argmax(0), len(code)) - used / 2).argsort()
        image = axes.imshow(
            code[:, order].numpy(), aspect="auto", cmap="Blues", vmin=0, vmax=1, interpolation="nearest"
        )
        _title(axes, f"{name}, {100 * share:.0f} % of the units active")
        axes.set(ylabel="digit shown", yticks=range(10))
        axes.tick_params(colors=INK, labelsize=8)
        figure.colorbar(image, ax=axes, label="activation\n(largest = 1)", pad=0.01)
    lower.set_xlabel("unit of the code, ordered by the digit it answers to most")
    return figure


def vector_field(measured: plane.Field) -> Figure:
    """Arrows of what a denoising autoencoder does to points, near and far, and how far from the curve they end."""
    figure = Figure((11.5, 4.6), layout="constrained")
    left, middle, right = _axes(figure, "Near the curve", "Far from it", "How far from the curve they end")
    limit = 0.15
    for axes, places, moved, share in (
        (left, measured.near, measured.near_moved, 1.0),
        (middle, measured.grid, measured.moved, 0.2),
    ):
        off = (moved - plane.nearest(moved)).norm(dim=1).clamp(max=limit)
        step = share * (moved - places)
        axes.plot(*plane.curve(torch.linspace(0, 1, 400)).T, color=INK, lw=2)
        arrows = axes.quiver(
            *places.T.numpy(),
            *step.T.numpy(),
            off.numpy(),
            cmap=_GOOD_TO_BAD,
            clim=(0, limit),
            angles="xy",
            scale_units="xy",
            scale=1,
            width=0.004,
        )
        axes.set(xlabel="first coordinate", aspect="equal")
    left.set_ylabel("second coordinate")
    figure.colorbar(
        arrows, ax=[left, middle], label="distance from the curve afterwards", orientation="horizontal",
        extend="max", shrink=0.6, aspect=40,
    )  # fmt: skip
    right.axvspan(0, plane.NEAR * plane.NOISE, color=BLUE, alpha=0.12, lw=0, label="the noise it learned from")
    right.plot(measured.before, measured.after, "o-", color=BLUE, lw=2, ms=4, label="after one pass")
    right.plot(measured.before, measured.before, "--", color=GRAY, label="if nothing were done")
    right.set(xlabel="distance from the curve before", ylabel="distance afterwards (median)")
    right.set_ylim(0, 2 * float(measured.after.max()))
    right.legend(frameon=False, fontsize=9)
    return figure


def denoised(measured: digits.Denoised) -> Figure:
    """Noisy digits and what became of them."""
    figure = Figure((9.6, 4.1), layout="constrained")
    axes = figure.subplots()
    rows = {
        "noisy": measured.noisy,
        f"PCA, {measured.components} components": measured.by_pca,
        "autoencoder": measured.by_network,
        "clean": measured.clean,
    }
    _rows(axes, rows)
    _title(axes, "Noise it has not seen, on digits it has not seen")
    return figure


def contraction(measured: digits.Contraction) -> Figure:
    """Singular values of the encoder's Jacobian, and how far codes move."""
    figure = Figure(_WIDE, layout="constrained")
    left, right = _axes(figure, "How strongly the code follows the picture", "How far the code moves")
    count = torch.arange(1, len(measured.singular[0]) + 1)
    for k, (name, color) in enumerate((("without the penalty", ORANGE), ("with it", BLUE))):
        left.plot(count, measured.singular[k], "o-", ms=4, color=color, lw=2, label=name)
        right.plot(measured.steps, 100 * measured.drift[k], "o-", ms=4, color=color, lw=2, label=name)
    left.set_yscale("log")
    left.set(xlabel="direction, the strongest first", ylabel="singular value of the Jacobian (mean)")
    right.set(
        xlabel="noise added to the picture (standard deviation, white = 1)",
        ylabel="code drift, % of the distance\nbetween two different pictures",
    )
    left.legend(frameon=False)
    right.legend(frameon=False)
    return figure


def overfitting(few: plane.Memorised, many: digits.Overfitted) -> Figure:
    """A curve through noisy points, and errors on known and unknown digits as a training goes on."""
    figure = Figure(_WIDE, layout="constrained")
    left, right = _axes(figure, f"{len(few.train)} points, learned by heart", f"{many.count} digits to learn from")
    left.plot(*plane.curve(torch.linspace(0, 1, 400)).T, "--", color=GRAY, lw=2, label="where the points come from")
    left.plot(*few.line.T, color=BLUE, lw=2, label="what the autoencoder says")
    left.scatter(few.train[:, 0], few.train[:, 1], s=26, color=INK, zorder=3, label="points it learned from")
    left.set(xlabel="first coordinate", ylabel="second coordinate", aspect="equal", xlim=(-0.1, 1.1), ylim=(-0.1, 1.1))
    left.legend(frameon=False, fontsize=8, loc="upper left")
    for (size, trained), color in zip(many.trained.items(), (BLUE, ORANGE), strict=True):
        right.plot(many.steps, many.tested[size], color=color, lw=2, label=f"code of {size}: unknown digits")
        right.plot(many.steps, trained, "--", color=color, lw=1.6, label=f"code of {size}: those it learned from")
    right.set_xscale("log")
    right.set_yscale("log")
    right.set(xlabel="training steps", ylabel="mean squared error a pixel")
    right.legend(frameon=False, fontsize=8)
    return figure


def _axes(figure: Figure, *titles: str) -> list[Axes]:
    made: list[Axes] = list(np.atleast_1d(figure.subplots(1, len(titles))))
    for axes, title in zip(made, titles, strict=True):
        _title(axes, title)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(GRAY)
        axes.tick_params(colors=INK, labelsize=9)
    return made


def _title(axes: Axes, text: str) -> None:
    axes.set_title(text, loc="left", color=INK, fontsize=11, fontweight="bold")


def _rows(axes: Axes, rows: dict[str, Tensor]) -> None:
    """Rows of small pictures, `[N, 1, h, w]` each, dark on light."""
    gap = 1
    padded = [torch.nn.functional.pad(row[:, 0].clamp(0, 1), (gap, gap, gap, gap)) for row in rows.values()]
    sheet = torch.cat([torch.cat(list(row), 1) for row in padded], 0)
    side = padded[0].shape[1]
    axes.imshow(sheet.numpy(), cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
    axes.set_yticks([side * (k + 0.5) - 0.5 for k in range(len(rows))], list(rows))
    axes.set_xticks([])
    axes.tick_params(length=0, colors=INK, labelsize=9)
    axes.spines[:].set_visible(False)
