"""What a code may be asked to be, beside able to restore: sparse, or slow to change.

A penalty is called as `penalty(network, observed, code, generator)` and returns a scalar in float32, whatever the
network computes in; a training adds `penalty.weight` times that to its loss. Any of them combine.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch import distributed as dist

from denoise.errors import UsageError
from denoise.networks.autoencoder import Autoencoder

_TINY = 1e-6


class Penalty(nn.Module):
    """Base: a weight, and the name that the value is logged by.

    Shape:
        - observed: `[B, C, H, W]`, what the encoder was given
        - code: `[B, K, h, w]`, what it made of it
        - Output: `[]`
    """

    name = "penalty"

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        if not weight >= 0:
            raise UsageError(f"weight={weight} is not allowed: give a number of at least 0.")
        self.weight = weight

    def forward(self, network: Autoencoder, observed: Tensor, code: Tensor, generator: torch.Generator) -> Tensor:
        """The penalty before it is weighted."""
        raise NotImplementedError


class L1Code(Penalty):
    """`mean_n sum_k |h_nk|`, h_n a code vector: most activations become zero.

    Olshausen and Field, "Emergence of simple-cell receptive field properties by learning a sparse code for natural
    images", Nature 1996; for autoencoders Ng, "Sparse autoencoder", CS294A lecture notes, Stanford 2011. A decoder
    with larger weights could do with a smaller code; the weight decay of the optimiser holds against that.
    """

    name = "l1"

    def forward(self, network: Autoencoder, observed: Tensor, code: Tensor, generator: torch.Generator) -> Tensor:  # noqa: ARG002
        """Summed over the code, averaged over examples and places."""
        return code.float().abs().sum(1).mean()


class KLCode(Penalty):
    """`sum_k rho log(rho / r_k) + (1 - rho) log((1 - rho) / (1 - r_k))`, r_k the mean activation of unit k.

    Divergence of Bernoulli variables: every unit shall be active at the rate rho, so each in few examples and none
    never (Ng, "Sparse autoencoder", CS294A lecture notes, Stanford 2011). Needs a sigmoid code. The mean is over all
    examples and places of the batch, of all processes where there are several.
    """

    name = "kl"

    def __init__(self, rho: float = 0.05, weight: float = 1.0) -> None:
        super().__init__(weight)
        if not 0 < rho < 1:
            raise UsageError(f"rho={rho} is not allowed: give a rate between 0 and 1.")
        self.rho = rho

    def forward(self, network: Autoencoder, observed: Tensor, code: Tensor, generator: torch.Generator) -> Tensor:  # noqa: ARG002
        """Summed over the units."""
        if network.activation != "sigmoid":
            raise UsageError(f"KLCode got a code with activation {network.activation!r}: give the network a sigmoid.")
        rate = mean_activation(code).clamp(_TINY, 1 - _TINY)
        rho = torch.full_like(rate, self.rho)
        return (rho * (rho / rate).log() + (1 - rho) * ((1 - rho) / (1 - rate)).log()).sum()


class Contractive(Penalty):
    """`mean_n ||dh/dx (x_n)||_F^2`: the code changes little where the signal does.

    Rifai et al., "Contractive auto-encoders: explicit invariance during feature extraction", ICML 2011. Taken at the
    input of the encoder as it is trained, which is the corrupted one where there is a corruption.

    - `exact`: for one sigmoid layer in closed form, `sum_k (h_k (1 - h_k))^2 sum_i W_ki^2`; for anything else by the
      whole Jacobian, one backward pass for each number of the code.
    - `hutchinson`: `||J^T v||^2` with random signs v, whose mean over v is `||J||_F^2` (Hutchinson, "A stochastic
      estimator of the trace of the influence matrix for Laplacian smoothing splines", Communications in Statistics
      1990): one backward pass for each of `samples`.
    """

    name = "contraction"

    def __init__(self, method: str = "hutchinson", samples: int = 1, weight: float = 1.0) -> None:
        super().__init__(weight)
        if method not in ("exact", "hutchinson") or samples < 1:
            raise UsageError(f"method={method}, samples={samples} is not allowed: give exact, or hutchinson and 1..")
        self.method = method
        self.samples = samples

    def forward(self, network: Autoencoder, observed: Tensor, code: Tensor, generator: torch.Generator) -> Tensor:  # noqa: ARG002
        """Summed over signal and code, averaged over examples."""
        with torch.autocast(observed.device.type, enabled=False), torch.enable_grad():
            observed = observed.detach().float()
            if self.method == "exact":
                return jacobian_norm(network, observed).mean()
            return estimate_jacobian_norm(network, observed, generator, self.samples).mean()


def mean_activation(code: Tensor) -> Tensor:
    """Mean of each unit over examples and places, of all processes; gradients find their way back through the sum.

    Shape:
        - code: `[B, K, h, w]`
        - Output: `[K]`
    """
    code = code.float()
    total = code.sum((0, 2, 3))
    count = torch.full_like(total[:1], code.numel() / code.shape[1])
    if dist.is_available() and dist.is_initialized():
        from torch.distributed.nn.functional import all_reduce

        total, count = all_reduce(torch.cat([total, count])).split([len(total), 1])  # type: ignore[no-untyped-call]
    return total / count


def jacobian(network: Autoencoder, observed: Tensor) -> Tensor:
    """Derivative of the code by the signal. Shape: `[B, C, H, W] -> [B, K h w, C H W]`."""

    def encode(signal: Tensor) -> Tensor:
        return network.encode(signal[None])[0].flatten()

    whole: Tensor = torch.func.vmap(torch.func.jacrev(encode))(observed)
    return whole.flatten(2)


def jacobian_norm(network: Autoencoder, observed: Tensor) -> Tensor:
    """Squared Frobenius norm of the Jacobian. Shape: `[B, C, H, W] -> [B]`."""
    layer = network.encoder[0]
    whole_patches = not any(length % step for length, step in zip(observed.shape[-2:], network.stride, strict=True))
    single = isinstance(layer, nn.Conv2d) and len(network.encoder) == 2 and layer.kernel_size == network.stride
    if not (single and whole_patches and network.activation == "sigmoid"):
        return jacobian(network, observed).square().sum((1, 2))
    code = network.encode(observed)
    slope = (code * (1 - code)).square().sum((2, 3))  # of the sigmoid
    return slope @ layer.weight.square().sum((1, 2, 3))  # type: ignore[operator]


def estimate_jacobian_norm(
    network: Autoencoder, observed: Tensor, generator: torch.Generator, samples: int = 1
) -> Tensor:
    """Unbiased estimate of `jacobian_norm`. Shape: `[B, C, H, W] -> [B]`."""
    observed = observed.detach().requires_grad_()
    code = network.encode(observed)
    total = code.new_zeros(len(code))
    for _ in range(samples):
        signs = torch.randint(2, code.shape, generator=generator, device=generator.device).to(code) * 2 - 1
        # Examples do not see each other, so the derivative of the whole batch is that of each.
        (product,) = torch.autograd.grad(code, observed, signs, create_graph=True)
        total = total + product.square().sum((1, 2, 3))
    return total / samples
