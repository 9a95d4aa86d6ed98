"""Muon for convolution kernels, AdamW for what is left, as one optimiser."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

# Coefficients of the quintic whose iteration pushes every singular value to about 1 (Jordan, 2024).
_A, _B, _C = 3.4445, -4.7750, 2.0315


def orthogonalise(matrices: Tensor, iterations: int = 5) -> Tensor:
    """Replace the singular values of each matrix by numbers close to one (about 0.7 to 1.2 unless they are tiny).

    The Newton-Schulz iteration `X <- (a + b XX' + c (XX')^2) X` only ever multiplies X from the left by polynomials of
    its Gram matrix. These commute, so the products are gathered on the small side (m x m for m <= n) and X itself is
    multiplied once: 4 m^3 an iteration in place of 4 m^2 n, nine times less for a square 3x3 kernel.

    Shape:
        - Input, output: `[K, m, n]`, float32
    """
    if matrices.shape[-2] > matrices.shape[-1]:
        return orthogonalise(matrices.mT, iterations).mT
    x: Tensor = matrices / (torch.linalg.matrix_norm(matrices, keepdim=True) + 1e-7)
    gram = x @ x.mT
    eye = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    total = eye
    for _ in range(iterations):
        step = torch.baddbmm(_A * eye + _B * gram, gram, gram, alpha=_C)
        total = step @ total
        gram = step @ gram @ step
    return total @ x


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised per convolution kernel; AdamW for heads, tails, biases and other small parameters.

    A kernel `[out, in, h, w]` is one matrix `[out, in*h*w]`. The orthogonal step is scaled to the root mean square that
    an Adam step has (0.2 sqrt(max(out, in*h*w))), so one learning rate serves both halves. Sources: Jordan et al.,
    "Muon: an optimizer for hidden layers in neural networks", 2024; Liu et al., "Muon is scalable for LLM training",
    2025.

    Args:
        params: named parameters, as `module.named_parameters()` gives them.
        lr: step size of both halves.
        momentum: of the kernels' half.
        betas: of AdamW's half.
        plain: parameters below a module of one of these names are AdamW's (first and last layers).
    """

    def __init__(
        self,
        params: Iterable[tuple[str, nn.Parameter]],
        lr: float = 2e-3,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.99),
        plain: tuple[str, ...] = ("head", "tail"),
    ) -> None:
        kernels: list[nn.Parameter] = []
        rest: list[nn.Parameter] = []
        for name, parameter in params:
            inner = parameter.ndim > 2 and not set(plain) & set(name.split("."))
            (kernels if inner else rest).append(parameter)
        groups = [{"params": kernels, "orthogonal": True}, {"params": rest, "orthogonal": False}]
        defaults = {"lr": lr, "momentum": momentum, "betas": betas, "eps": 1e-8}
        super().__init__([group for group in groups if group["params"]], defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step; `closure`, if given, recomputes the loss first and its value is returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            (self._muon if group["orthogonal"] else self._adamw)(group)
        return loss

    def _muon(self, group: dict[str, Any]) -> None:
        alike: dict[torch.Size, list[tuple[nn.Parameter, Tensor]]] = {}
        for p in group["params"]:
            if p.grad is not None:
                state = self.state[p]
                if not state:
                    state["momentum"] = torch.zeros_like(p)
                momentum = state["momentum"].lerp_(p.grad, 1 - group["momentum"])
                update = p.grad.lerp(momentum, group["momentum"])  # Nesterov's look ahead
                alike.setdefault(p.shape, []).append((p, update.flatten(1).float()))
        for shape, pairs in alike.items():  # kernels of one shape in one batch: small matrix products are slow alone
            kernels, updates = zip(*pairs, strict=True)
            steps = orthogonalise(torch.stack(updates))
            scale = 0.2 * max(steps.shape[1:]) ** 0.5
            for p, step in zip(kernels, steps, strict=True):
                p.add_(step.view(shape), alpha=-group["lr"] * scale)

    def _adamw(self, group: dict[str, Any]) -> None:
        params = [p for p in group["params"] if p.grad is not None]
        for p in params:
            if not self.state[p]:
                step = torch.zeros((), device="cpu")  # which steps are counted by, wherever the parameters are
                self.state[p] = {"step": step, "mean": torch.zeros_like(p), "square": torch.zeros_like(p)}
        states = [self.state[p] for p in params]
        adamw(
            params,
            [p.grad for p in params],
            [s["mean"] for s in states],
            [s["square"] for s in states],
            [],
            [s["step"] for s in states],
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=0.0,
            eps=group["eps"],
            maximize=False,
        )
