"""The words of the tour: what each figure is about, and the sentence that says what was measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure

from denoise.tour import digits, figures, plane
from denoise.tour.training import Trainings
from denoise.training.arrays import Split

Numbers = dict[str, float]


@dataclass(frozen=True)
class Chapter:
    """One figure with its words. Paragraphs are HTML; everything else is plain text."""

    title: str
    paragraphs: list[str]
    found: str
    """One sentence with the numbers of this run"""
    figure: Figure
    alt: str
    """The figure in words, for those who cannot see it"""
    measured: Numbers


def undercomplete(trainings: Trainings, _: Split) -> Chapter:
    """A line against a curve."""
    run = plane.line_against_curve(trainings)
    return Chapter(
        "A code that is too small to copy",
        [
            "An autoencoder says its input by a <b>code</b> and makes the input again from the code alone. If the "
            "code is "
            "smaller than the input, it cannot copy; it has to find out where the data lie. Here the data are points "
            "in a "
            "plane, two numbers each, and the code is one number.",
            "Principal component analysis (PCA) has the best <i>straight</i> answer, and an autoencoder without "
            "nonlinearities finds the same line. With nonlinearities the line may bend along the data. This is the "
            "<b>undercomplete</b> autoencoder: no penalty, only a narrow code.",
        ],
        f"The curve is {run.curved:.3f} off its points, the line of PCA {run.pca:.3f}: "
        f"{_times(run.pca / run.curved)} as "
        f"far. The linear autoencoder is {run.linear:.3f} off and its line {run.degrees:.1f}° away from that of PCA. "
        f"The points scatter by {plane.SCATTER:g} around the curve, which no code of one number can say.",
        figures.line_and_curve(run),
        "Left: points along a spiral, a straight line through them and a curve along them. Right: bars of the "
        "distances.",
        {"pca": run.pca, "linear": run.linear, "curved": run.curved, "degrees": run.degrees},
    )


def sizes(trainings: Trainings, split: Split) -> Chapter:
    """Error by length of the code."""
    run = digits.code_sizes(trainings, split)
    pairs = list(zip(run.sizes, run.pca, run.deep, strict=True))
    better = [size for size, pca, deep in pairs if deep < pca]
    size, pca, deep = pairs[run.sizes.index(run.shown)]
    pca_at = dict(zip(run.sizes, run.pca, strict=True))
    linear = " and ".join(f"{100 * (value / pca_at[n] - 1):.0f} % (code of {n})" for n, value in run.linear.items())
    gain = max(pairs, key=lambda pair: pair[1] / pair[2])[0]
    wins = f"at {_list(better)} numbers and not otherwise" if 0 < len(better) < len(pairs) else "throughout"
    worse = "PCA is better throughout in a training this short"
    return Chapter(
        "How small is small enough?",
        [
            "The same on handwritten digits of 8 x 8 pixels: 64 numbers said by 1 to 32. The longer the code, the "
            "smaller the error, for PCA and autoencoder alike. All errors are on digits that were not learned from. "
            "A linear autoencoder (crosses) comes to what PCA computes at once, and no further.",
        ],
        f"With {size} numbers PCA leaves an error of {pca:.4f} and the convolutional autoencoder {deep:.4f}; "
        + (f"the autoencoder is better {wins}. " if better else f"{worse}. ")
        + f"It gains most at {gain}. The linear autoencoder is {linear} above PCA.",
        figures.code_sizes(run),
        "Left: two falling curves of error by code length. Right: rows of digits, originals, by PCA, by autoencoder.",
        {f"pca_{n}": a for n, a, _ in pairs}
        | {f"deep_{n}": b for n, _, b in pairs}
        | {f"linear_{n}": value for n, value in run.linear.items()},
    )


def kl_penalty(trainings: Trainings, split: Split) -> Chapter:
    """The KL penalty."""
    run = digits.rates(trainings, split)
    free, held = float(run.free.mean()), float(run.held.mean())
    at_half = float(figures.kl(run.held.new_tensor([0.5]), digits.RHO))
    return Chapter(
        "A large code, seldom used",
        [
            "A code may also be larger than the input, if something else keeps it from copying. The <b>sparse</b> "
            "autoencoder asks every unit to be active rarely: at a mean rate ρ. The Kullback-Leibler penalty is zero "
            "where "
            "the mean activation of a unit over many pictures is ρ, and grows on both sides, so that units neither "
            "fire "
            "all the time nor die (Ng, “Sparse autoencoder”, 2011).",
        ],
        f"With ρ = {digits.RHO:g} a unit that is half on costs {at_half:.2f}. Trained without the penalty the units "
        f"are "
        f"on at a mean of {free:.3f}, with it at {held:.3f}; the error goes from {run.free_error:.4f} to "
        f"{run.held_error:.4f}.",
        figures.rates(run),
        "Left: the penalty as a curve for three rates. Right: histograms of the mean activation with and without it.",
        {"penalty_at_half": at_half, "free_rate": free, "held_rate": held}
        | {"free_error": run.free_error, "held_error": run.held_error},
    )


def sparse(trainings: Trainings, split: Split) -> Chapter:
    """Activations of sparse and dense codes."""
    run = digits.activations(trainings, split)
    return Chapter(
        "Different digits, different units",
        [
            "What a sparse code looks like: every row is the code of one digit, every column a unit. The dense code "
            "uses "
            "most units for everything. With a penalty on the sum of activations (L1) a digit is said by a few "
            "units, and "
            "another digit by others, which makes a code that can be read and searched. "
            "The empty columns on the right are units that none of these digits uses.",
        ],
        f"A unit counts as active above 5 % of the largest activation: {100 * run.dense_share:.0f} % of them are in "
        f"the "
        f"dense code, {100 * run.sparse_share:.1f} % in the sparse one. Two different digits share "
        f"{100 * run.dense_overlap:.0f} % of their active units in the dense code and {100 * run.sparse_overlap:.0f} "
        f"% in the "
        f"sparse one; the error goes from {run.dense_error:.4f} to {run.sparse_error:.4f}.",
        figures.activations(run),
        "Two maps of activations, ten digits by 128 units: the upper one is dark all over, the lower one in few "
        "places.",
        {"dense_share": run.dense_share, "sparse_share": run.sparse_share}
        | {"dense_overlap": run.dense_overlap, "sparse_overlap": run.sparse_overlap}
        | {"dense_error": run.dense_error, "sparse_error": run.sparse_error},
    )


def field(trainings: Trainings, _: Split) -> Chapter:
    """The denoising vector field."""
    run = plane.vector_field(trainings)
    return Chapter(
        "Undoing noise is knowing the way back",
        [
            "The <b>denoising</b> autoencoder is shown damaged input and asked for the clean one (Vincent et al., "
            "2008). "
            "Its code may be as large as it likes: copying does not help. What it learns is a field of arrows that "
            "point "
            "back to where the data are, along the gradient of their density (Alain and Bengio, 2014).",
            f"It learned from noise of {plane.NOISE:g} around the curve, the blue band on the right. Farther out it "
            f"has "
            "never been, and nothing obliges it to be right there. Arrows are drawn in full "
            "near the curve and at a fifth of their length far from it; orange ones miss it.",
        ],
        f"Nearer than {plane.NEAR * plane.NOISE:g} the median distance falls from {run.near_before:.3f} to "
        f"{run.near_after:.3f}. Farther than {plane.FAR * plane.NOISE:g} it falls from {run.far_before:.2f} to "
        f"{run.far_after:.3f}, which is {_times(run.far_after / run.near_after)} as far off; "
        f"the point it ends at is {run.far_off:.2f} away from the nearest one of the curve, against "
        f"{run.near_off:.3f} near it.",
        figures.vector_field(run),
        "Left: arrows all over the plane and the curve they point to. Right: distance after against distance before.",
        {
            name: getattr(run, name)
            for name in ("near_before", "near_after", "near_off", "far_before", "far_after", "far_off")
        },
    )


def denoising(trainings: Trainings, split: Split) -> Chapter:
    """Denoised digits."""
    run = digits.denoise_digits(trainings, split)
    noisy, pca, network = (digits.decibels(value) for value in run.errors)
    return Chapter(
        "The same in 64 dimensions",
        [
            "Pictures of digits are points too, in a space of one dimension a pixel, and noise drives them off the "
            "surface where digits lie. This is how the package restores photos and recordings, with larger networks.",
        ],
        f"Noise of standard deviation {digits.SIGMA:g} of 255 leaves {noisy:.1f} dB; PCA, given the number of "
        f"components "
        f"that suits these pictures best ({run.components}), restores {pca:.1f} dB, the autoencoder {network:.1f} dB.",
        figures.denoised(run),
        "Four rows of digits: with noise, restored by PCA, restored by the autoencoder, clean.",
        {"noisy_db": noisy, "pca_db": pca, "autoencoder_db": network, "components": run.components},
    )


def contractive(trainings: Trainings, split: Split) -> Chapter:
    """Contraction."""
    run = digits.contraction(trainings, split)
    ratio = run.norms[0] / run.norms[1]
    free, held = (100 * float(part[-1]) for part in run.drift)
    return Chapter(
        "A code that holds still",
        [
            "The <b>contractive</b> autoencoder is charged for every change of the code with the input: the squared "
            "Frobenius norm of the encoder's Jacobian (Rifai et al., 2011), the sum of its squared singular values. "
            "The "
            "reconstruction, which needs the directions in which digits differ, holds against it.",
            "A code that is merely smaller would move less too. The drift on the right is therefore measured in "
            "units of the distance between the codes of two different pictures.",
        ],
        f"The penalty makes the squared norm {_times(ratio)} smaller ({run.norms[0]:.2f} to {run.norms[1]:.2f}) and "
        f"the "
        f"error {run.errors[0]:.4f} become {run.errors[1]:.4f}. Noise of {float(run.steps[-1]):.1f} moves the code by "
        f"{free:.0f} % of the distance between two pictures without it and by {held:.0f} % with it.",
        figures.contraction(run),
        "Left: falling singular values, lower with the penalty. Right: code drift by noise, with and without the "
        "penalty.",
        {"free_norm": run.norms[0], "held_norm": run.norms[1], "free_error": run.errors[0], "held_error": run.errors[1]}
        | {"free_drift_percent": free, "held_drift_percent": held},
    )


def capable(trainings: Trainings, split: Split) -> Chapter:
    """Overfitting."""
    few, many = plane.memorise(trainings), digits.overfit(trainings, split)
    small, large = many.trained
    trained, tested = many.trained[large][-1], many.tested[large][-1]
    best = min(many.tested[large])
    return Chapter(
        "When it can do too much",
        [
            "Nothing above holds by itself. Given few examples and much freedom, an autoencoder learns the examples: "
            "even a code of one number can stand for “the third point”. The error on what it learned from tells "
            "nothing then; only the error on other data does. More data, a corruption or a penalty are the "
            "remedies; whether a shorter code is one too can be seen on the right.",
        ],
        f"Left, points it learned from are {few.trained:.3f} off and others {few.tested:.3f}. Right, after all steps "
        f"the code "
        f"of {large} has an error of {trained:.6f} on the {many.count} digits it learned from and {tested:.4f} on "
        f"others, "
        f"{_times(tested / trained)} as much (its best on the way: {best:.4f}); the code of {small} has "
        f"{many.trained[small][-1]:.6f} and {many.tested[small][-1]:.4f}. "
        f"On others the {'longer' if tested < many.tested[small][-1] else 'shorter'} code is the better one.",
        figures.overfitting(few, many),
        "Left: a curve that runs through every one of a few points. Right: errors by training steps.",
        {"plane_trained": few.trained, "plane_tested": few.tested}
        | {f"trained_{size}": many.trained[size][-1] for size in many.trained}
        | {f"tested_{size}": many.tested[size][-1] for size in many.tested},
    )


CHAPTERS: dict[str, Callable[[Trainings, Split], Chapter]] = {
    "undercomplete": undercomplete,
    "code-size": sizes,
    "kl-penalty": kl_penalty,
    "activations": sparse,
    "vector-field": field,
    "denoising": denoising,
    "contraction": contractive,
    "overfitting": capable,
}
"""By the name of the picture file, which is the anchor on the page too; in the order of the page"""


def _times(ratio: float) -> str:
    return f"{ratio:.1f} times" if ratio < 10 else f"{ratio:,.0f} times"


def _list(numbers: list[int]) -> str:
    words = [str(number) for number in numbers]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
