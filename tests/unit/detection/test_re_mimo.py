"""RE-MIMO: symmetry, sizes, attention, precisions, and what the untrained network is."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from cellfree_sim.detection import create_detector
from cellfree_sim.detection.detector import Detector
from cellfree_sim.detection.learned import quick
from cellfree_sim.detection.learned.likelihood import transmitter_encoding
from cellfree_sim.detection.learned.precision import Precision
from cellfree_sim.detection.learned.re_mimo import ReMimo, attention
from cellfree_sim.detection.learned.trainer import DetectorTrainer
from cellfree_sim.detection.mimo.re_mimo import ReMimoOptions
from cellfree_sim.errors import DetectorError
from cellfree_sim.scenario.training import MimoTraining
from cellfree_sim.uplink.mimo import MimoProblem
from cellfree_sim.uplink.problem import Batch

INPUTS = ["paper", "gradient", "cavity"]


def slots(problem: MimoProblem, count: int, snr_db: float, seed: int = 1) -> Batch:
    return problem.sample(count, snr_db=snr_db, generator=torch.Generator().manual_seed(seed))


def network(inputs: str, problem: MimoProblem, *, width: int = 16, blocks: int = 3, seed: int = 1) -> ReMimo:
    """Random weights, also where training would start from zeros."""
    torch.manual_seed(seed)
    made = ReMimoOptions(inputs=inputs, width=width, blocks=blocks, heads=3).network(problem)
    for parameter in made.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    return made.eval().requires_grad_(False)


def doubled(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    return batch.y.to(torch.complex128), batch.h.to(torch.complex128), batch.noise_variance.double()


@pytest.mark.parametrize("inputs", INPUTS)
def test_permuted_users_have_permuted_scores(inputs: str) -> None:
    """(4) of the paper, to the last digits of float64, for every block and every attention map."""
    problem = MimoProblem(n_rx=12, n_tx=7, correlation=0.7, correlated="receive")
    y, h, noise = doubled(slots(problem, 20, snr_db=14.0))
    order = torch.randperm(7, generator=torch.Generator().manual_seed(2))
    net = network(inputs, problem).double()
    maps: list[Tensor] = []
    permuted_maps: list[Tensor] = []
    scores = net(y, h, noise, maps)
    permuted = net(y, h[..., order], noise, permuted_maps)
    assert len(scores) == len(maps) == 3
    assert not torch.allclose(scores[-1], permuted[-1])
    for one, other in zip(scores, permuted, strict=True):
        assert torch.allclose(one[:, order], other, rtol=1e-9, atol=1e-9)
    for one, other in zip(maps, permuted_maps, strict=True):
        assert torch.allclose(one[:, :, order][..., order], other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("inputs", INPUTS)
def test_slots_do_not_mix_and_any_number_of_users_is_served(inputs: str) -> None:
    problem = MimoProblem(n_rx=8, n_tx=4)
    net = network(inputs, problem).double()  # float32 rounds otherwise in batches of other sizes
    for users in (1, 3, 8, 11 if inputs == "cavity" else 8):
        y, h, noise = doubled(slots(problem.changed(n_tx=users), 6, snr_db=15.0))
        together = net(y, h, noise)[-1]
        alone = net(y[2:3], h[2:3], noise[2:3])[-1]
        assert together.shape == (6, users, 16)
        assert torch.allclose(together[2:3], alone, rtol=1e-8, atol=1e-8)


def test_cavity_inputs_serve_any_number_of_antennas_and_ignore_their_basis() -> None:
    """y and H count only through H^H H, H^H y and |y|^2: a unitary mixing of antennas changes nothing."""
    net = network("cavity", MimoProblem(n_rx=8, n_tx=4)).double()
    for antennas in (6, 16):
        y, h, noise = doubled(slots(MimoProblem(n_rx=antennas, n_tx=4), 5, snr_db=15.0))
        generator = torch.Generator().manual_seed(3)
        unitary, _ = torch.linalg.qr(torch.randn(antennas, antennas, dtype=torch.complex128, generator=generator))
        found, turned = net(y, h, noise)[-1], net(y @ unitary.mT, unitary @ h, noise)[-1]
        assert torch.allclose(found, turned, rtol=1e-8, atol=1e-8)


def test_the_untrained_network_with_cavity_inputs_is_expectation_propagation() -> None:
    """Block t decides as `ep` does with t iterations at damping 0.5, the step that it starts with."""
    problem = MimoProblem(n_rx=16, n_tx=10, correlation=0.7, correlated="receive")
    batch = slots(problem, 300, snr_db=17.0)
    torch.manual_seed(1)
    net = ReMimoOptions(inputs="cavity", width=8, blocks=6, heads=2).network(problem)
    with torch.no_grad():
        scores = net(batch.y, batch.h, batch.noise_variance)
    for block in (0, 2, 5):
        ep = create_detector("ep", problem, iterations=block + 1, damping=0.5)
        expected = ep(batch.y, batch.h, batch.noise_variance)
        assert torch.allclose(scores[block].softmax(-1), expected.logits.exp(), atol=0.02)
        assert (scores[block].argmax(-1) == expected.messages).float().mean() > 0.9995


def test_mixed_precision_leaves_expectation_propagation_alone() -> None:
    """Where the network adds nothing yet, autocast changes nothing: no product of H is rounded to 16 bits."""
    problem = MimoProblem(n_rx=16, n_tx=10, correlation=0.7, correlated="receive")
    batch = slots(problem, 50, snr_db=17.0)
    net = ReMimoOptions(inputs="cavity", width=8, blocks=4, heads=2).network(problem)
    with torch.no_grad():
        expected = net(batch.y, batch.h, batch.noise_variance)
        with torch.autocast("cpu", torch.bfloat16):
            found = net(batch.y, batch.h, batch.noise_variance)
    assert torch.equal(found[-1], expected[-1])


def test_gradients_reach_every_weight_through_expectation_propagation() -> None:
    """Their direction is that of finite differences, in float64."""
    problem = MimoProblem(n_rx=8, n_tx=5, correlation=0.7, correlated="receive")
    batch = slots(problem, 12, snr_db=14.0)
    y, h, noise = doubled(batch)
    net = network("cavity", problem).double().requires_grad_(True)

    def loss() -> Tensor:
        each = [torch.nn.functional.cross_entropy(s.flatten(0, 1), batch.messages.flatten()) for s in net(y, h, noise)]
        return torch.stack(each).mean()

    loss().backward()  # type: ignore[no-untyped-call]
    parameters = [parameter for parameter in net.parameters() if parameter.grad is not None]
    unused = [name for name, parameter in net.named_parameters() if parameter.grad is None]
    assert unused == []
    generator = torch.Generator().manual_seed(4)
    direction = [torch.randn(p.shape, dtype=p.dtype, generator=generator) for p in parameters]
    slope = sum((p.grad * d).sum().item() for p, d in zip(parameters, direction, strict=True) if p.grad is not None)
    ends = []
    step = 1e-6
    with torch.no_grad():
        for shift in (step, -2 * step):
            for p, d in zip(parameters, direction, strict=True):
                p.add_(shift * d)
            ends.append(loss().item())
    assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(slope, rel=1e-3)


def test_a_user_far_from_all_others_is_attended_to_by_none() -> None:
    """With orthogonal groups of users, the heads that follow the correlations look only inside a group."""
    problem = MimoProblem(n_rx=12, n_tx=6)
    y, h, noise = doubled(slots(problem, 4, snr_db=15.0))
    h[:, :6, 3:] = 0
    h[:, 6:, :3] = 0
    maps: list[Tensor] = []
    network("cavity", problem).double()(y, h, noise, maps)
    sharpest = maps[0][:, -1]  # the head whose power is 1
    across = sharpest[:, :3, 3:].sum(-1)
    assert across.max() < 0.01
    assert sharpest[:, :3, :3].sum(-1).min() > 0.99


@pytest.mark.parametrize("inputs", INPUTS)
def test_attention_is_in_the_details_when_asked_for(inputs: str) -> None:
    problem = MimoProblem(n_rx=8, n_tx=5)
    batch = slots(problem, 6, snr_db=15.0)
    options = ReMimoOptions(inputs=inputs, width=16, blocks=3, heads=3, attention=True)
    net = network(inputs, problem)
    out = options.algorithm(net, problem)(batch.y, batch.h, batch.noise_variance)
    attention = out.details["attention"]
    assert attention.shape == (3, 6, 3, 5, 5) and out.iterations == 3
    assert torch.allclose(attention.sum(-1), torch.ones(3, 6, 3, 5), atol=1e-5)
    silent = options.model_copy(update={"attention": False}).algorithm(net, problem)
    plain = silent(batch.y, batch.h, batch.noise_variance)
    assert plain.details == {}
    assert torch.allclose(plain.logits, out.logits, atol=1e-4)


def test_attention_is_what_the_fused_kernel_computes() -> None:
    generator = torch.Generator().manual_seed(1)
    query, key, value = torch.randn(3, 2, 4, 5, 8, generator=generator)
    bias = torch.randn(2, 4, 5, 5, generator=generator)
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    assert torch.allclose(attention(query, key, bias) @ value, expected, atol=1e-5)


def test_transmitter_encoding_is_that_of_the_paper() -> None:
    found = transmitter_encoding(20, 6)
    for i in range(3):
        angle = 20 / (2 * 6) ** (2 * i / 6)
        assert found[2 * i].item() == pytest.approx(math.sin(angle), abs=1e-6)
        assert found[2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-6)


@pytest.mark.parametrize("whole_numbers", [True, False])
@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
@pytest.mark.parametrize("inputs", INPUTS)
def test_lower_precision_says_nearly_the_same(
    inputs: str, precision: Precision, whole_numbers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rounded weights change the log-probabilities little, piece by piece as well, whether or not inputs are rounded
    to 8 bits, too; and it attends to whom the network itself attends to."""
    monkeypatch.setattr(quick, "ROWS_AT_ONCE", 64)
    monkeypatch.setattr("cellfree_sim.detection.learned.precision.WORTH_WHOLE", 0 if whole_numbers else 10**9)
    problem = MimoProblem(n_rx=8, n_tx=4)
    batch = slots(problem, 40, snr_db=15.0)
    net = network(inputs, problem)
    maps: list[Tensor] = []
    found_maps: list[Tensor] = []
    expected = net(batch.y, batch.h, batch.noise_variance, maps)[-1].log_softmax(-1)
    quicker = quick.QuickReMimo(net, precision)
    found = quicker(batch.y, batch.h, batch.noise_variance)[-1].log_softmax(-1)
    assert found.dtype == torch.float32
    difference = (found - expected).abs().mean()
    assert 0 < difference < 0.1 * expected.std()
    together = quicker(batch.y, batch.h, batch.noise_variance, found_maps)[-1].log_softmax(-1)
    assert (together - expected).abs().mean() < 0.1 * expected.std()
    for one, other in zip(maps, found_maps, strict=True):
        assert (one - other).abs().mean() < 0.02


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_lower_precision_of_the_shipped_network_decides_nearly_the_same(precision: Precision) -> None:
    """Probabilities change by less than 1e-2 on average, and by far less; a symbol on the fence may be another (a
    probability then changes by up to 0.5 here), which one in a thousand is."""
    problem = MimoProblem(n_rx=64, n_tx=24, correlation=0.75, correlated="receive")
    batch = slots(problem, 100, snr_db=11.0, seed=2)
    expected, found = [
        create_detector("re-mimo", problem, precision=one)(batch.y, batch.h, batch.noise_variance)
        for one in ("float32", precision)
    ]
    difference = (found.logits.exp() - expected.logits.exp()).abs()
    assert 0 < difference.mean() < 1e-2
    assert difference.max() < 0.6
    assert (found.messages != expected.messages).float().mean() < 0.005


def test_options_that_do_not_fit() -> None:
    problem = MimoProblem(n_rx=8, n_tx=4)
    for options, words in (
        ({"width": 0}, "width: found 0"),
        ({"inputs": "vectors"}, "inputs: found 'vectors'"),
        ({"blocks": 0}, "blocks: found 0"),
    ):
        with pytest.raises(DetectorError) as caught:
            create_detector("re-mimo", problem, **options)
        assert words in str(caught.value) and "\n" not in str(caught.value)


def test_inputs_of_vectors_serve_their_own_number_of_antennas_only() -> None:
    problem = MimoProblem(n_rx=8, n_tx=4)
    options = ReMimoOptions(inputs="paper", width=16, blocks=2, heads=2)
    algorithm = options.algorithm(network("paper", problem, blocks=2), problem)
    other = slots(MimoProblem(n_rx=9, n_tx=4), 3, snr_db=15.0)
    with pytest.raises(DetectorError, match="found 9 antennas; its network has 8"):
        algorithm(other.y, other.h, other.noise_variance)


def test_gradient_inputs_learn_much_faster_than_those_of_the_paper() -> None:
    """After 120 iterations they make half the errors of the matched filter, the paper's still as many."""
    problem = MimoProblem(n_rx=4, n_tx=3, constellation="qpsk")
    batch = slots(problem, 3000, snr_db=10.0, seed=5)
    matched = create_detector("mf", problem)(batch.y, batch.h, batch.noise_variance)
    rates = {"mf": (matched.messages != batch.messages).float().mean().item()}
    for inputs in ("gradient", "paper"):
        options = {"name": "re-mimo", "inputs": inputs, "width": 16, "blocks": 2, "heads": 2}
        training = MimoTraining(
            detector=options,
            n_rx=4,
            n_tx=[2, 3],
            constellation="qpsk",
            snr_db=(6.0, 14.0),
            iterations=120,
            batch=100,
            learning_rate=1e-2,
        )
        trainer = DetectorTrainer(training, seed=1, device="cpu")
        trainer.run()
        with torch.no_grad():
            scores = trainer.network(batch.y, batch.h, batch.noise_variance)[-1]
        rates[inputs] = (scores.argmax(-1) != batch.messages).float().mean().item()
    assert rates["gradient"] < 0.5 * rates["mf"]
    assert rates["paper"] > 0.9 * rates["mf"]


def test_the_shipped_network_beats_ep_where_many_users_share_correlated_antennas() -> None:
    """On the same slots as EP(30, .7), beyond chance (seed 11), with a number of users that it was not trained on."""
    problem = MimoProblem(n_rx=64, n_tx=30, correlation=0.8, correlated="receive")
    batch = slots(problem, 1200, snr_db=15.5, seed=11)
    detectors: list[Detector] = [create_detector(name, problem) for name in ("ep", "re-mimo")]
    ep, ours = [
        (one(batch.y, batch.h, batch.noise_variance).messages != batch.messages).sum(-1).double() for one in detectors
    ]
    gap = ep - ours
    assert gap.mean() > 2.5 * gap.std() / math.sqrt(len(gap))
