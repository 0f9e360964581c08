"""Loss schemes: shapes, what each task depends on, and derivatives against differences."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cellfree_sim.conformance.checks import Run, Subject, expect

MIN_RATE = 0.5
SAMPLES, USERS, STATIONS = 3, 4, 2
TASKS = 1 + USERS + STATIONS
_STEP = 1e-6


def inputs(subject: Subject) -> tuple[Tensor, Tensor, Tensor]:
    """Rates [S, I], excess power [S, B] and learned weights [S, K], float64, away from where losses have kinks."""
    generator = torch.Generator().manual_seed(9)
    rates = 2.0 * torch.rand(SAMPLES, USERS, dtype=torch.float64, generator=generator) + 0.01
    excess = torch.rand(SAMPLES, STATIONS, dtype=torch.float64, generator=generator) - 0.5
    count = TASKS if subject.options.uses_beta else 0
    beta = 0.1 + torch.rand(SAMPLES, count, dtype=torch.float64, generator=generator)
    return rates, excess, beta


def _evaluated(subject: Subject, *given: Tensor, weights: Tensor | None = None) -> Any:
    return subject.options.evaluate(*given, MIN_RATE, weights)


def _shapes(subject: Subject) -> str | None:
    joint, tasks = _evaluated(subject, *inputs(subject))
    expect(joint.shape == (SAMPLES,), f"joint loss {[*joint.shape]}; expected one for each realisation, [{SAMPLES}]")
    expect(tasks.shape == (SAMPLES, TASKS), f"task losses {[*tasks.shape]}; expected [{SAMPLES}, 1 + I + B = {TASKS}]")
    for name, value in (("joint loss", joint), ("task losses", tasks)):
        expect(value.isfinite().all(), f"{name}: found a value that is not finite")
        expect(value.dtype == torch.float64, f"{name}: found {value.dtype} for rates of float64; expected the same")
    return None


def _tasks_in_order(subject: Subject) -> str | None:
    """The objective depends on all rates; each other task on one rate, or on one power."""
    rates, excess, beta = inputs(subject)
    rates = rates.clamp_min(MIN_RATE + 0.1)
    _, tasks = _evaluated(subject, rates, excess, beta)
    changed = rates.clone()
    changed[1, 2] = 0.001
    found = (_evaluated(subject, changed, excess, beta)[1] != tasks).nonzero().tolist()
    expect(found == [[1, 0], [1, 3]], f"a change of rate 2 changes tasks {found}; expected objective and task 1 + 2")
    changed = excess.clone()
    changed[2, 1] = 0.9
    found = (_evaluated(subject, rates, changed, beta)[1] != tasks).nonzero().tolist()
    expect(found == [[2, 1 + USERS + 1]], f"a change of power 1 changes tasks {found}; expected task 1 + I + 1")
    return None


def _realisations_apart(subject: Subject) -> str | None:
    given = inputs(subject)
    joint, _ = _evaluated(subject, *given)
    alone = torch.cat([_evaluated(subject, *(each[[index]] for each in given))[0] for index in range(SAMPLES)])
    expect(torch.allclose(joint, alone), "the loss of a realisation depends on the others of its batch")
    return None


def _gradients(subject: Subject) -> str | None:
    given = [each.requires_grad_() for each in inputs(subject)]
    joint, _ = _evaluated(subject, *given)
    slopes = torch.autograd.grad(joint.sum(), given, allow_unused=True)
    for name, value, slope in zip(("rates", "excess power", "beta"), given, slopes, strict=True):
        if not value.numel():
            continue
        expect(slope is not None, f"no gradient with respect to {name}")
        assert slope is not None
        for index in range(value.shape[1]):
            step = torch.zeros_like(value)
            step[:, index] = _STEP
            there = [[other + sign * step if other is value else other for other in given] for sign in (1, -1)]
            up, down = (_evaluated(subject, *each)[0].detach() for each in there)
            wanted, found = (up - down) / (2 * _STEP), slope[:, index]
            close = torch.allclose(found, wanted, rtol=1e-4, atol=1e-6)
            expect(close, f"d loss / d {name}[{index}]: found {found.tolist()}; by differences {wanted.tolist()}")
    return None


def _never_costs(subject: Subject) -> str | None:
    rates, excess, beta = inputs(subject)
    rates, excess = rates.requires_grad_(), excess.abs().requires_grad_()
    joint, _ = _evaluated(subject, rates, excess, beta)
    by_rates, by_excess = torch.autograd.grad(joint.sum(), (rates, excess))
    expect((by_rates < 0).all(), f"more rate costs somewhere: d loss / d rate up to {by_rates.max():.3g}")
    expect((by_excess > 0).all(), f"more power over the budget pays: d loss / d power down to {by_excess.min():.3g}")
    return None


def _priorities(subject: Subject) -> str | None:
    rates, excess, beta = inputs(subject)
    alpha = torch.tensor([2.0, 0.5, 0.0, 1.0], dtype=torch.float64)
    _, plain = _evaluated(subject, rates, excess, beta)
    _, weighted = _evaluated(subject, rates, excess, beta, weights=alpha)
    expect(torch.equal(plain[:, 1:], weighted[:, 1:]), "weights alpha change tasks other than the objective")
    expect(not torch.equal(plain[:, 0], weighted[:, 0]), "weights alpha do not change the objective")
    changed = rates.clone()
    changed[:, 2] += 1  # whose weight is 0
    _, other = _evaluated(subject, changed, excess, beta, weights=alpha)
    expect(torch.equal(other[:, 0], weighted[:, 0]), "a user of weight 0 changes the objective")
    return None


def _adapts(subject: Subject) -> str | None:
    rates, *_ = inputs(subject)
    next_one = subject.options.adapted(rates, MIN_RATE)
    expect(type(next_one) is type(subject.options), f"adapted() gave a {type(next_one).__name__}")
    adapts = subject.options.adapts
    expect(adapts or next_one == subject.options, "adapted() gave another scheme, but `adapts` is false")
    return None


CHECKS: dict[str, Run] = {
    "one loss for each realisation, and 1 + I + B tasks": _shapes,
    "tasks are the objective, the users, the stations": _tasks_in_order,
    "realisations do not influence each other": _realisations_apart,
    "gradients are those of differences": _gradients,
    "more rate and less violation never cost": _never_costs,
    "priorities weigh the objective alone": _priorities,
    "what adapts says so": _adapts,
}
