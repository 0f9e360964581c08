"""Message passing on the factor graph of a sparse codebook: users on the one side, resources on the other.

A resource knows only the users whose codewords are not zero there, so that it can weigh all combinations of their
answers. Slots are the last axis, and messages are probabilities.

Shape letters: S slots, A answers of a user, D users on a resource.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from cellfree_sim.detection.noma.algorithms.common import IMPOSSIBLE, Code

VALUES_AT_ONCE = 1 << 19
UNLIKELY = -80.0  # combinations below it from the best count as this: exp is slow where it underflows


class Graph(NamedTuple):
    """Which users are on each resource, and which answers each user has."""

    users_on: list[list[int]]
    answers: list[Tensor]


def graph_of(code: Code) -> Graph:
    """The factor graph of a code."""
    occupied = (code.words.abs() > 0).any(dim=1)  # [N, K]
    users_on = [column.nonzero().squeeze(-1).tolist() for column in occupied.T]
    return Graph(users_on, [(row > IMPOSSIBLE).nonzero().squeeze(-1) for row in code.log_prior])


def most_combinations(graph: Graph) -> int:
    """The largest number of combinations that a resource has to weigh."""
    most = 1
    for users in graph.users_on:
        product = 1
        for user in users:
            product *= len(graph.answers[user])
        most = max(most, product)
    return most


def message_passing(
    y: Tensor, received: Tensor, noise_variance: Tensor, code: Code, graph: Graph, *, iterations: int
) -> Tensor:
    """Scores [S, N, A] after so many iterations of sums and products; exact where the graph has no loops.

    Args:
        y: complex64 [S, R].
        received: codewords as they arrive, complex64 [S or 1, N, A, R].
        noise_variance: float32 [S].
        code: of the problem.
        graph: of the code.
        iterations: each from users to resources and back.
    """
    priors = [code.log_prior[user, own].softmax(dim=0).unsqueeze(-1) for user, own in enumerate(graph.answers)]
    factors = [
        _factor(y, received, noise_variance, graph, resource, code.words.shape[-1])
        for resource in range(len(graph.users_on))
    ]
    places = [[k for k, users in enumerate(graph.users_on) if user in users] for user in range(len(priors))]
    uniform = [torch.ones_like(prior) for prior in priors]
    heard = {(k, user): uniform[user] for k, users in enumerate(graph.users_on) for user in users}
    for _ in range(iterations):
        told = {
            (k, user): _normalised(_product(priors[user], [heard[other, user] for other in places[user] if other != k]))
            for k, user in heard
        }
        for k, users in enumerate(graph.users_on):
            if users:
                found = _to_users(factors[k], [told[k, user] for user in users])
                heard.update({(k, user): _normalised(message) for user, message in zip(users, found, strict=True)})
    least = torch.finfo(y.real.dtype).tiny
    scores = y.real.new_full((*code.log_prior.shape, len(y)), IMPOSSIBLE)
    for user, own in enumerate(graph.answers):
        logs = [heard[k, user].clamp_min(least).log() for k in places[user]]
        scores[user, own] = sum(logs, priors[user].log().expand(-1, len(y)))
    return scores.movedim(-1, 0)


def _factor(y: Tensor, received: Tensor, noise_variance: Tensor, graph: Graph, resource: int, resources: int) -> Tensor:
    """Likelihood of y on one resource, all antennas together, for each combination of its users: [A, A, …, S]."""
    distance = torch.zeros_like(noise_variance)
    for sample in range(resource, y.shape[-1], resources):
        real = imaginary = received.real.new_zeros(len(received))
        for user in graph.users_on[resource]:
            arriving = received[:, user, graph.answers[user], sample].mT  # [A, S or 1]
            real, imaginary = real.unsqueeze(-2) + arriving.real, imaginary.unsqueeze(-2) + arriving.imag
        distance = distance + ((y[:, sample].real - real).square() + (y[:, sample].imag - imaginary).square())
    nearest = distance.flatten(0, -2).amin(dim=0) if distance.ndim > 1 else distance
    return ((nearest - distance) / noise_variance).clamp_min_(UNLIKELY).exp_()


def _to_users(factor: Tensor, told: list[Tensor]) -> list[Tensor]:
    """Sums [A, S] of `factor` [A, A, …, S] over all users but one, for each: the others' messages `told` [A, S] in."""
    if len(told) == 1:
        return [factor]
    half = len(told) // 2
    first = factor
    for message in reversed(told[half:]):
        first = (first * message).sum(dim=-2)
    second = factor
    for message in told[:half]:
        second = (second * message.reshape(len(message), *[1] * (second.ndim - 2), -1)).sum(dim=0)
    return _to_users(first, told[:half]) + _to_users(second, told[half:])


def _product(prior: Tensor, messages: list[Tensor]) -> Tensor:
    for message in messages:
        prior = prior * message
    return prior


def _normalised(message: Tensor) -> Tensor:
    return message / message.sum(dim=0).clamp_min(torch.finfo(message.dtype).tiny)
