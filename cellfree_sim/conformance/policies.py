"""Policy networks: shapes, budget, decisions, what they depend on, gradients, and learning."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from cellfree_sim.conformance.checks import Run, Subject, expect, needs
from cellfree_sim.downlink.policy import PolicyOutputs, PolicyShape
from cellfree_sim.downlink.rates import project_to_budget, station_power, sum_rate, user_rates
from cellfree_sim.scenario.extensions import LOSS_SCHEMES

N, T, USERS, R, STATIONS, S = 3, 4, 5, 2, 3, 6
SHAPE = PolicyShape(N, T, USERS, R, STATIONS, loss_weights=1 + USERS + STATIONS)
BOTH = (True, False)


def channels(s: int = S, n: int = N, t: int = T, i: int = USERS, r: int = R, seed: int = 1) -> Tensor:
    """Rayleigh channels [S, N, T, I, R], with gains of users over 40 dB."""
    generator = torch.Generator().manual_seed(seed)
    gains = 10 ** (2 * torch.rand(s, 1, 1, i, 1, generator=generator) - 1)
    return gains * torch.randn(s, n, t, i, r, dtype=torch.complex64, generator=generator)


def fresh(subject: Subject, shape: PolicyShape = SHAPE, seed: int = 0) -> nn.Module:
    """A new network."""
    network: nn.Module = subject.options.build(shape, seed)
    return network


def shaken(subject: Subject, seed: int = 2) -> nn.Module:
    """A network far from its start, so that its users differ, in evaluation mode."""
    network = fresh(subject, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
        network(channels())  # statistics of batch normalisation
    return network.eval()


def radiated(outputs: PolicyOutputs) -> Tensor:
    """sum_{n,i} |v w|^2 [S], float64, in units of the budget."""
    sent = outputs.beams.to(torch.complex128) * outputs.allocation.double().unsqueeze(2)
    return sent.abs().square().sum((1, 2, 3))


def _shapes(subject: Subject) -> str | None:
    expect(fresh(subject).training, "a new network is in evaluation mode; expected training mode")
    for training in BOTH:
        _check_outputs(fresh(subject).train(training)(channels()), SHAPE, S)
    none = replace(SHAPE, loss_weights=0)
    _check_outputs(fresh(subject, none)(channels()), none, S)
    return None


def _check_outputs(outputs: Any, shape: PolicyShape, count: int) -> None:
    n, t, i, k = shape.subcarriers, shape.tx_antennas, shape.users, shape.loss_weights
    expected = {
        "beams": ((count, n, t, i), torch.complex64),
        "allocation": ((count, n, i), torch.float32),
        "beta": ((count, k), torch.float32),
    }
    for name, (size, dtype) in expected.items():
        part = getattr(outputs, name)
        fits = part.shape == size and part.dtype == dtype
        expect(fits, f"{name}: found {part.dtype} {[*part.shape]}; expected {dtype} {[*size]}")
        expect(part.abs().isfinite().all(), f"{name}: found a value that is not finite")


def _budget(subject: Subject) -> str | None:
    needs(subject.options.keeps_budget, "the class says keeps_budget = False")
    for training in BOTH:
        for network in (fresh(subject), shaken(subject)):
            for gain in (1e-3, 1.0, 1e3):
                power = radiated(network.train(training)(gain * channels())).detach()
                expect(power.max() <= 1 + 1e-5, f"sends {power.max():.6g} of the budget; allowed: 1")
                expect(power.min() > 0, "a station falls silent")
    return None


def _decisions(subject: Subject) -> str | None:
    for network in (fresh(subject).eval(), shaken(subject)):
        allocation = network(channels()).allocation
        expect(((allocation == 0) | (allocation == 1)).all(), "in evaluation: found values other than 0 and 1")
    soft = shaken(subject).train()(channels()).allocation
    expect(
        ((soft >= 0) & (soft <= 1)).all(), f"in training: found {soft.min():.3g} to {soft.max():.3g}; allowed: 0 to 1"
    )
    return None


def _loss_weights(subject: Subject) -> str | None:
    beta = shaken(subject)(1e3 * channels()).beta
    expect((beta >= 0.01).all(), f"found {beta.min():.3g}; allowed: 0.01 or more (see positive_weights)")
    return None


def _gradients(subject: Subject) -> str | None:
    """Through the loss of a network in which the other stations are silent."""
    for scheme in (LOSS_SCHEMES.create("el"), LOSS_SCHEMES.create("penalty")):
        shape = SHAPE if scheme.uses_beta else replace(SHAPE, loss_weights=0)
        network, channel = fresh(subject, shape), channels(s=20)
        outputs = network(channel)
        beams, allocation = outputs.beams.unsqueeze(1), outputs.allocation.unsqueeze(1)
        rates = user_rates(beams, allocation, channel.unsqueeze(1))
        excess = (station_power(beams, allocation) - 1).expand(20, STATIONS)
        joint, _ = scheme.evaluate(rates, excess, outputs.beta, 1.0)
        joint.mean().backward()
        for key, parameter in network.named_parameters():
            if not parameter.numel():
                continue
            expect(parameter.grad is not None, f"no gradient reaches {key}")
            assert parameter.grad is not None
            expect(parameter.grad.isfinite().all(), f"the gradient of {key} is not finite")
            expect(parameter.ndim < 2 or parameter.grad.abs().max() > 0, f"the gradient of {key} is zero everywhere")
    return None


def _learns(subject: Subject) -> str | None:
    """Sum rate of a single station after 40 steps of Adam, in training mode, on 10 realisations."""
    network, channel = fresh(subject, replace(SHAPE, loss_weights=0)), channels(s=10)
    optimiser = torch.optim.Adam([each for each in network.parameters() if each.numel()], lr=3e-3)
    values = []
    for _ in range(40):
        outputs = network(channel)
        beams, allocation = outputs.beams.unsqueeze(1), outputs.allocation.unsqueeze(1)
        value = sum_rate(project_to_budget(beams, allocation), allocation, channel.unsqueeze(1)).mean()
        optimiser.zero_grad()
        (-value).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        values.append(value.item())
    remark = f"sum rate {values[0]:.3g} to {values[-1]:.3g} bit/s/Hz in 40 steps"
    expect(values[-1] > 1.02 * values[0], remark + "; expected more at the end")
    return remark


def _seeded(subject: Subject) -> str | None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    network = fresh(subject, seed=5)
    first = network.state_dict()
    network(channels())
    expect(torch.equal(torch.get_rng_state(), before), "moves torch's own generator; build it with `seeded`")
    torch.manual_seed(2)
    second = fresh(subject, seed=5).state_dict()
    fits = first.keys() == second.keys()
    statistics = {key for key in first if "running" in key or "batches" in key}
    same = fits and all(torch.equal(first[key], second[key]) for key in first if key not in statistics)
    expect(same, "the same seed gave two networks")
    other = fresh(subject, seed=6).state_dict()
    expect(not all(torch.equal(second[key], other[key]) for key in second), "another seed gave the same network")
    return None


def _state(subject: Subject) -> str | None:
    network, other = shaken(subject), fresh(subject, seed=9).eval()
    other.load_state_dict({key: value.clone() for key, value in network.state_dict().items()})
    found, wanted = other(channels()), network(channels())
    same = all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
    expect(same, "a network with the state of another decides otherwise; is something learned not in state_dict()?")
    return None


def _apart(subject: Subject) -> str | None:
    network, channel = shaken(subject), channels()
    whole, kept = network(channel), channel.clone()
    expect(torch.equal(channel, kept), "changes the channel that it is given")
    for s in range(S):
        for name, part, alone in zip(whole._fields, whole, network(channel[s : s + 1]), strict=True):
            close = torch.allclose(part[s : s + 1], alone, rtol=1e-4, atol=1e-5)
            expect(close, f"in evaluation, {name} of a realisation depend on the others of its batch")
    return None


def _silence(subject: Subject) -> str | None:
    channel = channels()
    channel[0] = 0
    channel[1, :, :, 2] = 0
    network = fresh(subject)
    outputs = network(channel)
    _check_outputs(outputs, SHAPE, S)
    (outputs.beams.abs().square().sum() + outputs.allocation.sum() + outputs.beta.sum()).backward()
    finite = all(each.grad is None or each.grad.isfinite().all() for each in network.parameters())
    expect(finite, "a channel of zeros: found gradients that are not finite")
    return None


def _antennas(subject: Subject) -> str | None:
    for t, r in ((1, 1), (2, 1), (1, 2), (2, 4), (8, 3)):
        shape = replace(SHAPE, tx_antennas=t, rx_antennas=r)
        outputs = fresh(subject, shape)(channels(t=t, r=r))
        _check_outputs(outputs, shape, S)
        outputs.beams.abs().square().sum().backward()
    return None


def _any_size(subject: Subject) -> str | None:
    """What the class claims under `any_size`: the weights of a network are those of one of another size."""
    claims = subject.options.any_size
    needs(bool(claims), "the class claims none (any_size)")
    other = {"subcarriers": 5, "tx_antennas": 2, "users": 7, "rx_antennas": 3, "stations": 4}
    sizes = {key: value for key, value in other.items() if key in claims}
    shape = replace(SHAPE, **sizes, loss_weights=0)
    network, there = fresh(subject, replace(SHAPE, loss_weights=0)), fresh(subject, shape, seed=3)
    there.load_state_dict(network.state_dict())
    given = channels(n=shape.subcarriers, t=shape.tx_antennas, i=shape.users, r=shape.rx_antennas)
    _check_outputs(there.eval()(given), shape, S)
    return ", ".join(sorted(claims))


def _central(subject: Subject) -> str | None:
    needs(type(subject.options).has_central(), "it has no network for all stations at once (build_central)")
    shape = replace(SHAPE, stations=2)
    network = subject.options.build_central(shape, 0)
    outputs = network(torch.stack([channels(), channels(seed=2)], 1))
    size = (S, 2, N, T, USERS)
    expect(outputs.beams.shape == size, f"beams: found {[*outputs.beams.shape]}; expected {[*size]}")
    return None


CHECKS: dict[str, Run] = {
    "outputs have their shapes and are finite": _shapes,
    "beams keep the power budget": _budget,
    "allocation is 0 or 1 in evaluation, between in training": _decisions,
    "loss weights stay away from zero": _loss_weights,
    "gradients reach every layer": _gradients,
    "it learns": _learns,
    "its start follows from the seed": _seeded,
    "its state can be saved and loaded": _state,
    "realisations do not influence each other": _apart,
    "channels of zeros do no harm": _silence,
    "any number of antennas will do": _antennas,
    "it serves the other sizes that it claims": _any_size,
    "one network for all stations": _central,
}
