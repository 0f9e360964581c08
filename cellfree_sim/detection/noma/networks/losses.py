"""What training of NOMA minimises: cross-entropies of users, weighted or not, squared errors, and fairness.

Shape letters: see `words`.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from cellfree_sim.detection.noma.networks.words import Words

Loss = Literal["sum", "focal", "paper", "mse"]
Fairness = Literal["none", "mse", "conditional"]

PAPER_C = 0.7357
"""What the paper of Mul-VAE divides e^-L by, to make it an accuracy. It is 2/e, and no constant of anything."""


def user_entropies(scores: Tensor, messages: Tensor) -> Tensor:
    """Mean cross-entropy [N] of each user, nats, of scores [S, N, M] with the `messages` int64 [S, N] sent."""
    logs = scores.float().log_softmax(dim=-1)
    return -logs.gather(-1, messages.unsqueeze(-1)).squeeze(-1).mean(dim=0)


def prioritised(entropies: Tensor, gamma: float, loss: Loss) -> Tensor:
    """One number of the users' cross-entropies [N].

    `sum`: their sum. `focal`: their sum with the weights (1 - e^-L)^gamma L, of mean 1 and constant for the gradient,
    so that users who are understood least count most. `paper`: (21) of Mul-VAE as printed,

        -ln(c) sum_n (1 - e^-L_n / c)^gamma L_n^2,    c = 0.7357,

    which falls to 0 at L = -ln c = 0.307 nats, rises on both sides of it for even gamma, and so is a false minimum in
    which training is caught. It is kept to show that.

    >>> at = [prioritised(torch.tensor([nats]), 2.0, "paper").item() for nats in (0.1, 0.307, 0.5)]
    >>> at[1] < 1e-8 < at[0] < at[2]
    True
    """
    if loss == "paper":
        weight = (1 - (-entropies).exp() / PAPER_C).pow(gamma)
        scale = -torch.tensor(PAPER_C, device=entropies.device).log()
        return scale * (weight * entropies.square()).sum()
    if loss == "focal":
        with torch.no_grad():
            weight = (1 - (-entropies).exp()).pow(gamma) * entropies
            weight = weight / weight.mean().clamp_min(1e-30)
        return (weight * entropies).sum()
    return entropies.sum()


def squared_errors(scores: Tensor, messages: Tensor, words: Words) -> Tensor:
    """Mean squared error [N] of each user's expected codeword, over the mean energy of a codeword that is sent."""
    codewords = words.codewords
    expected = torch.einsum("snm,nmk->snk", scores.float().softmax(dim=-1).to(codewords.dtype), codewords)
    sent = codewords[torch.arange(len(codewords), device=codewords.device), messages]
    own = words.log_prior[:, :-1] if words.silence else words.log_prior
    counts = own.isfinite().sum(dim=1)
    energy = codewords.detach().abs().square().sum(dim=(1, 2)) / counts
    return torch.view_as_real(expected - sent).square().sum(dim=(-2, -1)).mean(dim=0) / energy


def unfairness(errors: Tensor, fairness: Fairness, active: Tensor, weights: Tensor) -> Tensor:
    """sum_n lambda_n |e_n - mean e| of users' errors [N]: their own (`mse`), or of a user that sends (`conditional`).

    A user that seldom sends has a small mean squared error however badly it is understood: with `mse` fairness means
    that the users who send often are understood best. `conditional` divides by the probability [N] of sending.
    """
    if fairness == "none":
        return errors.new_zeros(())
    each = errors / active if fairness == "conditional" else errors
    return (weights * (each - each.mean()).abs()).sum()
