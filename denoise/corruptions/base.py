"""What a corruption is, and how corruptions combine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from denoise.corruptions.draws import as_fraction, choose
from denoise.errors import UsageError

Params = Mapping[str, Any]  # tensors, or further mappings of tensors


@dataclass(frozen=True)
class Corrupted:
    """What a corruption makes of a clean batch: everything a network is given and is asked for.

    As long as nothing is damaged, observed and target are one tensor.

    Shape:
        - observed, target: `[B, C, *S]`
        - condition: `[B, K, *S]`, what the network is told about the damage, or None: with K = 1 the noise level as a
          standard deviation on the scale of the signal, 0..1, or of holes the mask, 1 where the signal is lost
        - weight: `[B, 1, *S]`, where the loss counts and how much, or None for everywhere alike
    """

    observed: Tensor
    condition: Tensor | None
    target: Tensor
    weight: Tensor | None = None


class Corruption(nn.Module):
    """Clean signal in, observed signal and what we know about it out.

    A child class writes two methods: `draw` owns the randomness and `apply` is a pure function, so that a draw can be
    replayed. Draws are per example. A corruption keeps the shape, and one that adds no noise reports a level of
    zero, but for `Jpeg`, which is undone as noise is.

    Shape:
        - Input: `[B, C, *S]`, float32; pictures 0..1
    """

    def __init__(self) -> None:
        super().__init__()

    def draw(self, clean: Tensor, generator: torch.Generator) -> Params:
        """Everything random about one call, as tensors."""
        raise NotImplementedError

    def apply(self, clean: Tensor, params: Params) -> Corrupted:  # type: ignore[override]  # nn.Module.apply is unused
        """The corruption with everything random already drawn."""
        raise NotImplementedError

    def follow(self, before: Corrupted, params: Params) -> Corrupted:
        """Apply to a signal that is damaged already: noise levels add in variance, weights multiply, the target stays.

        A child that changes the noise it finds, or whose condition is no noise level, says here how the two combine.
        """
        after = self.apply(before.observed, params)
        level = _combine(torch.hypot, before.condition, after.condition)
        return Corrupted(after.observed, level, before.target, _combine(torch.mul, before.weight, after.weight))

    def forward(self, clean: Tensor, generator: torch.Generator) -> Corrupted:
        """Draw, then apply."""
        return self.apply(clean, self.draw(clean, generator))

    def extra_repr(self) -> str:
        """The public settings."""
        settings = {k: v for k, v in vars(self).items() if not k.startswith("_") and k != "training"}
        return ", ".join(f"{name}={value!r}" for name, value in settings.items())


class Identity(Corruption):
    """No damage: observed is clean and the noise level is zero."""

    def draw(self, clean: Tensor, generator: torch.Generator) -> Params:  # noqa: ARG002
        """Nothing is random."""
        return {}

    def apply(self, clean: Tensor, params: Params) -> Corrupted:  # type: ignore[override]  # noqa: ARG002
        """The clean signal, seen as it is."""
        return Corrupted(clean, zero_level(clean), clean)


class Combination(Corruption):
    """Base of corruptions made of others: a child writes `draw` and `follow`."""

    def __init__(self, corruptions: Sequence[Corruption]) -> None:
        super().__init__()
        if not corruptions:
            raise UsageError(f"{type(self).__name__} got no corruptions: give at least one.")
        self.corruptions = nn.ModuleList(corruptions)

    def members(self) -> Iterator[tuple[str, Corruption]]:
        """The parts in order, each with the key that its draw has among the params."""
        for position, member in enumerate(self.corruptions):
            yield str(position), cast(Corruption, member)

    def apply(self, clean: Tensor, params: Params) -> Corrupted:  # type: ignore[override]
        """The combination on a signal with no damage yet."""
        return self.follow(Corrupted(clean, None, clean), params)


class Compose(Combination):
    """One corruption after another. Every draw sees the clean signal, every part is applied to what came before."""

    def __init__(self, corruptions: list[Corruption]) -> None:
        super().__init__(corruptions)

    def draw(self, clean: Tensor, generator: torch.Generator) -> Params:
        """One draw per part."""
        return {name: member.draw(clean, generator) for name, member in self.members()}

    def follow(self, before: Corrupted, params: Params) -> Corrupted:
        """Part after part."""
        for name, member in self.members():
            before = member.follow(before, params[name])
        return before


class OneOf(Combination):
    """One of several corruptions, chosen for each example with the given weights (by default all alike)."""

    def __init__(self, corruptions: list[Corruption], weights: list[float] | None = None) -> None:
        super().__init__(corruptions)
        self.weights = [1.0] * len(corruptions) if weights is None else [float(weight) for weight in weights]
        if len(self.weights) != len(corruptions) or min(self.weights) < 0 or not sum(self.weights) > 0:
            raise UsageError(
                f"OneOf got weights {weights} for {len(corruptions)} corruptions: give one each, not all of them 0."
            )

    def draw(self, clean: Tensor, generator: torch.Generator) -> Params:
        """The choice `[B]`, and for each part that was chosen a draw for its examples."""
        choice = choose(self.weights, clean, generator)
        rows = {name: torch.nonzero(choice == int(name))[:, 0] for name, _ in self.members()}
        draws = {name: member.draw(clean[rows[name]], generator) for name, member in self.members() if len(rows[name])}
        return {"choice": choice, **draws}

    def follow(self, before: Corrupted, params: Params) -> Corrupted:
        """Each part on its own examples, put back in order."""
        parts, rows = [], []
        for name, member in self.members():
            if name in params:
                rows.append(torch.nonzero(params["choice"] == int(name))[:, 0])
                parts.append(member.follow(_pick(before, rows[-1]), params[name]))
        return _pick(_join(parts), torch.argsort(torch.cat(rows)))


class Sometimes(OneOf):
    """A corruption that each example suffers with the given probability, and otherwise is left alone."""

    def __init__(self, corruption: Corruption, probability: float = 0.5) -> None:
        probability = as_fraction(probability, "probability")
        super().__init__([corruption, Identity()], [probability, 1 - probability])


def require_undamaged(before: Corrupted, name: str) -> None:
    """Raise UsageError where something damaged the signal already and a corruption would make another the target."""
    if before.observed is not before.target:
        raise UsageError(f"{name} would throw away the damage before it; put that into {name} as well.")


def zero_level(signal: Tensor) -> Tensor:
    """The noise level of a signal without noise, `[B, 1, *S]`."""
    return torch.zeros_like(signal[:, :1])


def _combine(rule: Callable[[Tensor, Tensor], Tensor], first: Tensor | None, second: Tensor | None) -> Tensor | None:
    if first is None or second is None:
        return second if first is None else first
    return rule(first, second)


def _pick(batch: Corrupted, rows: Tensor) -> Corrupted:
    condition, weight = (None if tensor is None else tensor[rows] for tensor in (batch.condition, batch.weight))
    observed = batch.observed[rows]
    target = observed if batch.target is batch.observed else batch.target[rows]
    return Corrupted(observed, condition, target, weight)


def _join(parts: Sequence[Corrupted]) -> Corrupted:
    lengths = [len(part.observed) for part in parts]
    observed = torch.cat([part.observed for part in parts])
    same = all(part.target is part.observed for part in parts)
    return Corrupted(
        observed,
        _join_known([part.condition for part in parts], lengths, 0.0),
        observed if same else torch.cat([part.target for part in parts]),
        _join_known([part.weight for part in parts], lengths, 1.0),
    )


def _join_known(tensors: Sequence[Tensor | None], lengths: Sequence[int], otherwise: float) -> Tensor | None:
    """Along the batch, with a constant for the parts that say nothing; None when all say nothing."""
    known = next((tensor for tensor in tensors if tensor is not None), None)
    if known is None:
        return None
    filled = [
        known.new_full((length, *known.shape[1:]), otherwise) if tensor is None else tensor
        for tensor, length in zip(tensors, lengths, strict=True)
    ]
    return torch.cat(filled)
