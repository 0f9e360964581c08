"""Learned receivers and codes of NOMA: what is learned, kept and refused, and what those that ship can do."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from cellfree_sim.detection import create_detector
from cellfree_sim.detection.learned.curricula.noma import Curriculum
from cellfree_sim.detection.learned.trained import read_trained, save_trained, shipped_detectors
from cellfree_sim.detection.learned.trainer import DetectorTrainer
from cellfree_sim.detection.noma.networks.gaussian import distances
from cellfree_sim.detection.noma.networks.losses import prioritised, squared_errors, unfairness
from cellfree_sim.detection.noma.networks.message_passing import AssociationNet, changes, improved, likeliest
from cellfree_sim.detection.noma.networks.transmitters import SignatureCode, audible
from cellfree_sim.detection.noma.networks.words import Words, real_parts
from cellfree_sim.errors import CodebookError, DetectorError
from cellfree_sim.scenario.training import NomaTraining
from cellfree_sim.uplink import NomaProblem

RATES = [1, 1, 1, 2, 2, 2]
SPREAD = {"activity": 0.5, "channel": "flat"}
SMALL = {"iterations": 3, "batch": 16, "report_every": 1}
LINKS = [
    {"detector": "sicnn", "codebook": "qnn", **SPREAD},
    {"detector": {"name": "sicnn", "form": "paper", "widths": [8]}, "codebook": "qnn", "loss": "mse", **SPREAD},
    {"detector": {"name": "fcnn", "widths": [8]}, "codebook": {"name": "qnn", "levels": None}, **SPREAD},
    {"detector": "mul-vae", "codebook": "mul-vae", "rates": RATES, "loss": "focal"},
    {"detector": "e2e", "codebook": "e2e", "rates": RATES, "channel": "rayleigh"},
    {"detector": "pda-net", "codebook": "map-trained", "rates": RATES, "channel": "rayleigh", "antennas": 2},
]


def link(**options):
    return NomaTraining(**{**SMALL, **options})


@pytest.mark.parametrize("options", LINKS, ids=lambda options: str(options["detector"])[:32])
def test_a_gradient_reaches_every_weight_of_code_and_receiver(options):
    trainer = DetectorTrainer(link(**options), seed=1)
    first = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    trainer.run()
    still = [name for name, value in trainer.network.state_dict().items() if torch.equal(value, first[name])]
    assert still == []
    assert any(name.startswith("transmitter") for name in first)


@pytest.mark.parametrize("options", [LINKS[0], LINKS[5]], ids=["qnn", "map-trained"])
def test_equal_seeds_give_equal_bits_and_a_file_gives_back_code_and_receiver(options, tmp_path):
    trained, again = (DetectorTrainer(link(**options), seed=7) for _ in range(2))
    trained.run()
    again.run()
    assert trained.trained().to_bytes() == again.trained().to_bytes()
    path = tmp_path / "link.detector"
    save_trained(trained.trained(name="link"), path)
    kept = read_trained(path)
    problem = kept.curriculum.problem().changed(codebook={"name": "trained", "file": str(path)})
    code = trained.network.codebook().detach().numpy()
    assert np.array_equal(problem.book.codewords, code)
    batch = problem.sample(50, 8.0, generator=torch.Generator().manual_seed(1))
    found = create_detector(options["detector"], problem, checkpoint=str(path))(
        batch.y, batch.h_known, batch.noise_variance
    )
    network = trained.network.bound.eval()
    network.codebook, network.log_prior = problem.codebook, problem.log_prior
    with torch.no_grad():
        wanted = network(batch.y, batch.h_known, batch.noise_variance)[-1].log_softmax(dim=-1)
    assert torch.equal(found.logits, wanted)
    other = create_detector("ml", problem)(batch.y, batch.h_known, batch.noise_variance)
    assert other.logits.shape == found.logits.shape  # the code serves any receiver


@pytest.mark.parametrize("options", LINKS[:5], ids=lambda options: str(options["detector"])[:32])
def test_a_receiver_of_another_code_is_one_line(options, tmp_path):
    trainer = DetectorTrainer(link(**options), seed=1)
    path = tmp_path / "link.detector"
    save_trained(trainer.trained(name="link"), path)
    own = read_trained(path).curriculum.problem().changed(codebook={"name": "trained", "file": str(path)})
    name = trainer.options.name
    create_detector(name, own, checkpoint=str(path))
    for change in ({"codebook": "random"}, {"antennas": 2}, {"users": 7, "codebook": "random"}):
        if change.get("users"):
            change = {**change, "rates": 2, "activity": own.activity and 0.5, "received_power_db": 0.0}
        with pytest.raises(DetectorError, match=r"found .*; allowed: ") as error:
            create_detector(name, own.changed(**change), checkpoint=str(path))
        assert "\n" not in str(error.value)


def test_codes_have_equal_energy_and_signatures_their_alphabet():
    for options in LINKS:
        trainer = DetectorTrainer(link(**options), seed=3)
        code = trainer.network.codebook().detach()
        counts = torch.tensor([2**rate for rate in RATES]) if "rates" in options else torch.full((6,), 4)
        energies = code.abs().square().sum(dim=(1, 2)) / counts
        torch.testing.assert_close(energies, torch.ones(6))
    points = torch.tensor([[1, 1j, -1, -1j]]).repeat(5, 1)
    for levels in (1, 2, 5):
        code = SignatureCode(points, torch.full((5,), 4), 4, 1.0, levels)
        parts = torch.view_as_real(code.signatures().detach())
        assert torch.equal(parts, parts.round())
        assert parts.abs().max() <= levels
        assert set(parts.flatten().tolist()) <= set(range(-levels, levels + 1))


def test_a_signature_that_is_all_zero_is_heard_nevertheless():
    code = SignatureCode(torch.ones(3, 2), torch.full((3,), 2), 4, 1.0, 2)
    code.latent.data[1] = 0.1
    code.latent.data[1, 2, 1] = -0.3
    signatures = code.signatures()
    assert signatures[1].tolist() == [0, 0, -1j, 0]
    assert code()[1].abs().square().sum(dim=-1).tolist() == [1, 1]
    code().real.sum().backward()
    assert code.latent.grad[1].abs().sum() > 0
    assert torch.equal(audible(torch.ones(1, 1, 2), torch.zeros(1, 1, 2)), torch.ones(1, 1, 2))


def test_users_in_another_order_are_detected_alike_and_in_any_number():
    generator = torch.Generator().manual_seed(2)
    for users, resources in ((6, 4), (12, 8)):
        problem = NomaProblem(users, resources, activity=0.6, channel="flat", codebook="random")
        batch = problem.sample(40, 10.0, generator=generator)
        y, h = batch.y.to(torch.complex128), batch.h.to(torch.complex128)
        network = AssociationNet(layers=3, listed=8, steps=2).double()
        words = Words.of(problem.codebook.to(torch.complex128), problem.log_prior.double())
        order = torch.randperm(users, generator=generator)
        there = Words(words.codewords[order], words.log_prior[order], words.silence)
        with torch.no_grad():
            here = network(words, y, h, batch.noise_variance.double())[-1]
            moved = network(there, y, h[:, order], batch.noise_variance.double())[-1]
        torch.testing.assert_close(here[:, order], moved, rtol=0, atol=1e-9)


def test_the_search_starts_from_the_likeliest_combinations_and_raises_their_exact_likelihood():
    problem = NomaProblem(4, 3, rates=(1, 2, 1, 2), channel="rayleigh", codebook="random")
    batch = problem.sample(30, 6.0, generator=torch.Generator().manual_seed(4))
    scores = torch.randn(30, 4, 4).masked_fill(problem.log_prior.isinf(), -math.inf).log_softmax(dim=-1)
    chosen = likeliest(scores, 10)
    every = torch.cartesian_prod(*[torch.arange(count) for count in problem.counts])
    chances = scores[:, torch.arange(4), every].sum(dim=-1)
    mine = scores.gather(2, chosen.transpose(1, 2)).sum(dim=1)
    torch.testing.assert_close(mine, chances.topk(10, dim=1).values)
    words = Words.of(problem.codebook, problem.log_prior)
    g, y = real_parts(words.effective(batch.h)), real_parts(batch.y)
    sums = (batch.h.unsqueeze(1) * problem.codebook[torch.arange(4), every]).sum(dim=2)
    exact = -(batch.y.unsqueeze(1) - sums).abs().square().sum(dim=-1) / batch.noise_variance.unsqueeze(-1)
    exact = exact + problem.log_prior[torch.arange(4), every].sum(dim=-1)  # [S, 64]
    found = changes(words, g, y, batch.noise_variance, every.expand(30, -1, -1))
    wanted = torch.stack(
        [
            torch.stack([exact[:, every[:, user] == m].amax(dim=1) for m in range(count)], dim=-1)
            for user, count in enumerate(problem.counts)
        ][1::2],
        dim=1,
    )
    torch.testing.assert_close(found.amax(dim=1)[:, 1::2], wanted)  # from all of them: max-log of every message
    first = every[torch.zeros(30, 1, dtype=torch.long)]
    moved = improved(first, changes(words, g, y, batch.noise_variance, first))
    place = (moved[:, 0].unsqueeze(1) == every).all(dim=-1).float().argmax(dim=1)
    assert ((moved != first).sum(dim=-1) <= 1).all()
    assert (exact[torch.arange(30), place] >= exact[:, 0]).all()


def test_distances_and_their_gradient():
    matrix = torch.randn(3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    matrix = (matrix @ matrix.mT + torch.eye(4)).requires_grad_()
    vectors = torch.randn(3, 5, 4, dtype=torch.float64, requires_grad=True)
    wanted = torch.einsum("smi,sij,smj->sm", vectors, torch.linalg.inv(matrix), vectors)
    torch.testing.assert_close(distances(matrix, vectors), wanted)
    assert torch.autograd.gradcheck(lambda a, v: distances((a + a.mT) / 2, v), (matrix, vectors))


def test_the_printed_loss_of_mul_vae_has_a_false_minimum_and_its_repair_has_none():
    trap = -math.log(0.7357)
    nats = torch.linspace(0.01, 1.2, 240)

    def curve(loss):
        values = []
        for at in nats:
            entropy = at.clone().reshape(1).requires_grad_()
            value = prioritised(entropy, 2.0, loss)
            value.backward()
            values.append((value.item(), entropy.grad.item()))
        return np.array(values)

    assert trap == pytest.approx(0.307, abs=5e-4)
    assert prioritised(torch.tensor([0.307]), 2.0, "paper").item() == pytest.approx(0, abs=1e-7)
    printed, repaired = curve("paper"), curve("focal")
    before = nats.numpy() < trap
    assert (printed[before][-20:, 1] < 0).all()  # below the trap, training is sent back up into it
    assert (printed[~before][:, 1] > 0).all()
    assert (repaired[:, 1] > 0).all()
    both = torch.tensor([0.1, 1.0], requires_grad=True)
    prioritised(both, 2.0, "focal").backward()
    assert both.grad.mean().item() == pytest.approx(1)  # weights of mean 1, the worse user's the larger
    assert both.grad[1] > 10 * both.grad[0]


def test_fairness_compares_users_that_send():
    errors, active = torch.tensor([0.08, 0.04]), torch.tensor([0.8, 0.4])
    ones = torch.ones(2)
    assert unfairness(errors, "none", active, ones).item() == 0
    assert unfairness(errors, "mse", active, ones).item() == pytest.approx(0.04)
    assert unfairness(errors, "conditional", active, ones).item() == pytest.approx(0, abs=1e-8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rates": [1, 2]}, "found 2 values; allowed: one, or 6"),
        ({"snr_db": (5, 0)}, "from the lower to the higher"),
        ({"detector": "sicnn", "repeated": [1, 2]}, r"found .*; allowed: \[1\]"),
        ({"codebook": "qnn", "repeated": [1, 2]}, "codebook is learned"),
        ({"detector": "map-trained"}, "found 'wbe'.*allowed: a codebook that is learned"),
        ({"codebook": {"name": "qnn", "file": "x"}}, "but training makes one"),
        ({"detector": "ml"}, "nothing to learn; allowed: .*pda-net"),
    ],
)
def test_trainings_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        link(**options)


def test_what_a_learned_codebook_is_read_from():
    with pytest.raises(CodebookError, match=r"codebook 'qnn': file: found 0 for 5 users on 3 .*; allowed: a file made"):
        NomaProblem(5, 3, codebook="qnn")
    with pytest.raises(CodebookError, match="no such file or shipped detector"):
        NomaProblem(6, 4, codebook={"name": "trained", "file": "nothing"})
    with pytest.raises(CodebookError, match="in which there is no codebook"):
        NomaProblem(6, 4, codebook={"name": "trained", "file": "epnet-full"})
    assert shipped_detectors()


def test_a_receiver_without_a_file_is_trained_on_the_problem_that_asks_for_it():
    problem = NomaProblem(4, 3, rates=(1, 2, 1, 2), activity=0.5, channel="flat", codebook="musa", antennas=2)
    for name in ("sicnn", "pda-net"):
        detector = link(detector=name, codebook="wbe").detector
        training = Curriculum.default(detector, problem, users=4)
        made = Curriculum(training)
        assert made.problem().options() == problem.options()
        assert made.makes(detector, made.problem())
        other = link(detector={"name": name, **({"passes": 3} if name == "sicnn" else {"layers": 7})}, codebook="wbe")
        assert not made.makes(other.detector, problem)
    with pytest.raises(DetectorError, match="found the codebook 'qnn', which learns together with a receiver"):
        Curriculum.default(detector, NomaProblem(6, 4, activity=0.5, codebook="qnn"), users=6)
    with pytest.raises(DetectorError, match="which is in no file"):
        Curriculum.default(detector, problem.changed(codebook=problem.book), users=6)


def test_a_receiver_that_knows_nothing_has_the_squared_error_one_of_a_user_that_always_sends():
    problem = NomaProblem(2, 2, 1, (1.0, 0.5))
    words = Words.of(problem.codebook, problem.log_prior)
    messages = torch.tensor([[0, 2], [1, 2]])  # the second is silent, which costs nothing
    errors = squared_errors(problem.log_prior.expand(2, -1, -1), messages, words)
    assert torch.allclose(errors, torch.tensor([1.0, 0.0]), atol=1e-6)
