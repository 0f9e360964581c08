"""Self-supervised losses: NFL (11), EL (12), Huber (13), and the joint loss (16) with its learned weights.

The losses act elementwise and keep shape and dtype. Defaults are the paper's (Table I): x_1 = -1, x_2 = 0, x_3 = 0.11.
"""

from __future__ import annotations

import torch
from torch import Tensor


def nfl(x: Tensor, x1: float = -1.0) -> Tensor:
    """Negative fraction linear loss as printed (11): x / x1^2 - 1 / x1 for x >= x1, and -1 / x below; x1 < 0.

    At x1 the printed branches do not meet: -1 / x1 from the left, 0 from the right. `nfl_tangent` joins them.

    >>> nfl(torch.tensor([-2.0, -1.0, 0.0]))
    tensor([0.5000, 0.0000, 1.0000])
    """
    return _nfl(x, x1, 1.0)


def nfl_tangent(x: Tensor, x1: float = -1.0) -> Tensor:
    """NFL with the tangent of -1 / x at x1 as its linear branch: x / x1^2 - 2 / x1, once continuously differentiable.

    >>> nfl_tangent(torch.tensor([-2.0, -1.0, 0.0]))
    tensor([0.5000, 1.0000, 2.0000])
    """
    return _nfl(x, x1, 2.0)


def _nfl(x: Tensor, x1: float, offset: float) -> Tensor:
    if x1 >= 0:
        raise ValueError(f"x1 of the NFL loss must be negative, found {x1:g}")
    below = x < x1
    # The branch not taken is evaluated at x1, so that its derivative stays finite (0 * inf would be NaN).
    return torch.where(below, -1.0 / torch.where(below, x, x1), x / x1**2 - offset / x1)


def el(x: Tensor, x2: float = 0.0) -> Tensor:
    """Exponential linear loss (12): e^x below x2, its tangent e^x2 (x + 1 - x2) from x2 on.

    >>> el(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([0.3679, 1.0000, 2.0000])
    """
    edge = torch.exp(torch.tensor(x2, dtype=x.dtype, device=x.device))
    return torch.where(x < x2, torch.exp(x.clamp_max(x2)), edge * (x + 1.0 - x2))


def negative_fraction(x: Tensor) -> Tensor:
    """-1 / x everywhere (24): NFL without its linear branch, and so with a pole at 0.

    It grows on either side of the pole, from 0 to infinity below it and from minus infinity to 0 above it. At x = 0 it
    is not finite.

    >>> negative_fraction(torch.tensor([-2.0, 0.5]))
    tensor([ 0.5000, -2.0000])
    """
    return -x.reciprocal()


def huber(x: Tensor, x3: float = 0.11) -> Tensor:
    """Huber loss (13): |x| - x3 / 2 from x3 on, x^2 / (2 x3) nearer to zero; x3 > 0.

    >>> huber(torch.tensor([0.0, 1.0]), x3=0.5)
    tensor([0.0000, 0.7500])
    """
    if x3 <= 0:
        raise ValueError(f"x3 of the Huber loss must be positive, found {x3:g}")
    size = x.abs()
    return torch.where(size < x3, x.square() / (2.0 * x3), size - x3 / 2.0)


def joint_loss(task_losses: Tensor, beta: Tensor) -> Tensor:
    """Weight-adaptive joint loss (16), sum_k L_k / (K beta_k^2) + sum_k log beta_k, of each realisation.

    Args:
        task_losses: L, [S, K], in the order objective, users, stations.
        beta: positive weights, [S, K]; with several stations, their mean (20).

    Returns:
        [S]. Not bounded below: as a task loss goes to zero the best beta does so too, and log beta to minus infinity.
        Policies therefore keep beta at or above 0.01.

    >>> joint_loss(torch.tensor([[1.0, 3.0]]), torch.ones(1, 2))
    tensor([2.])
    """
    return (task_losses / beta.square()).mean(-1) + beta.log().sum(-1)


def divergence(task_losses: Tensor, users: int) -> str | None:
    """Which task's loss is not finite, in words for an error message; None where training can go on.

    Args:
        task_losses: L, [S, 1 + I + B] in the order objective, users, stations; or their batch means, [1 + I + B].
        users: I.

    >>> divergence(torch.tensor([[-4.0, 0.1, float("inf"), 0.0]]), users=2)
    'the loss of the rate of user 1 is inf'
    """
    for task, values in enumerate(task_losses.detach().reshape(-1, task_losses.shape[-1]).unbind(-1)):
        broken = values[~values.isfinite()]
        if len(broken):
            return f"the loss of {_task_name(task, users)} is {float(broken[0])}"
    return None


def _task_name(task: int, users: int) -> str:
    if task == 0:
        return "the objective"
    return f"the rate of user {task - 1}" if task <= users else f"the power of station {task - 1 - users}"
