"""Arguments of the selective scan, the definition as a loop over steps, and what the two are compared by."""

import torch
from torch import Tensor
from torch.nn import functional as F

BATCH, CHANNELS, STATES = 2, 5, 3
NAMES = ("u", "dt", "A", "B", "C", "D", "state")


def tensors(length: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> dict[str, Tensor]:
    """Arguments of the scan, and weights of its outputs in a loss."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    found = {
        "u": normal(BATCH, length, CHANNELS),
        "dt": F.softplus(normal(BATCH, length, CHANNELS) - 2),
        "A": -normal(CHANNELS, STATES).exp(),
        "B": normal(BATCH, length, STATES),
        "C": normal(BATCH, length, STATES),
        "D": normal(CHANNELS),
        "state": normal(BATCH, CHANNELS, STATES),
    }
    return {name: x.to(dtype).requires_grad_() for name, x in found.items()}


def by_steps(u, dt, A, B, C, D=None, state=None):
    """One step after another, as the definition says."""
    state = u.new_zeros(u.shape[0], *A.shape) if state is None else state
    outputs = []
    for ut, dtt, Bt, Ct in zip(*(x.unbind(1) for x in (u, dt, B, C)), strict=True):
        state = torch.exp(dtt[..., None] * A) * state + (dtt * ut)[..., None] * Bt[:, None]
        outputs.append((state * Ct[:, None]).sum(-1) + (0 if D is None else D * ut))
    return torch.stack(outputs, 1), state


def gradients(arguments: dict[str, Tensor], outputs: tuple[Tensor, Tensor]) -> list[Tensor]:
    """Of a loss that looks at every output and the last state."""
    g = torch.Generator().manual_seed(1)
    loss = sum((x * torch.randn(x.shape, generator=g, dtype=torch.float64).to(x)).sum() for x in outputs)
    return list(torch.autograd.grad(loss, list(arguments.values())))


def assert_near(made: Tensor, expected: Tensor, tolerance: float = 1e-4, what: str = "") -> None:
    """Relative error of the whole tensor; of what is nothing, next to nothing."""
    error = (made.double() - expected).norm()
    assert made.shape == expected.shape
    assert error <= tolerance * expected.norm() + 1e-15, f"{what} is off by {error:.1e} of {expected.norm():.1e}"
