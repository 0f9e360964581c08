"""MIMO detection: users with one antenna each send QAM symbols to one receiver with many antennas."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from cellfree_sim.errors import UserError
from cellfree_sim.scenario.uplink_mimo import BITS
from cellfree_sim.uplink.checks import one_of, real, tensor_misfit, whole
from cellfree_sim.uplink.constellations import constellation
from cellfree_sim.uplink.fading import Sides, complex_normal, rayleigh
from cellfree_sim.uplink.problem import Batch, Family

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Channel = Literal["rayleigh", "awgn"]
MAX_ANTENNAS = 4096
MAX_BLOCK = 1_000_000
MAX_SNR_DB = 200.0


@dataclass(frozen=True, init=False, repr=False)
class MimoProblem:
    """N users send one symbol each in every slot; a receiver with R antennas knows their channels: y = H x + noise.

    Conventions: H has entries of variance 1/R, so that each user's column has the mean power 1; E|x_n|^2 = 1; the noise
    is CN(0, s^2) on each antenna. The SNR is E||Hx||^2 / E||noise||^2, so that

        s^2 = (N / R) 10^(-SNR_dB / 10).

    Attributes:
        n_rx: receive antennas R.
        n_tx: users N.
        modulation: the name given as `constellation`, of all users: qpsk, qam16, qam64 or qam256.
        channel: rayleigh, or awgn: H = 1/sqrt(R) everywhere, no fading.
        correlation: rho of the exponential correlation rho^|i-j| between neighbouring antennas, 0 <= rho < 1.
        correlated: where it applies: receive (the antennas of the receiver), full (and between users), or none.
        csi_error: the receiver knows H + W, W ~ CN(0, csi_error / R): 0.01 is an error of -20 dB.
        block: number of consecutive slots with the same channel, and the same W (block fading).

    >>> problem = MimoProblem(n_rx=4, n_tx=2, constellation="qam16")
    >>> problem.codebook.shape, problem.bits[3].tolist()
    (torch.Size([2, 16, 1]), [0, 0, 1, 1])
    >>> batch = problem.sample(10, snr_db=12.0)
    >>> batch.y.shape, batch.h.shape, batch.messages.shape
    (torch.Size([10, 4]), torch.Size([10, 4, 2]), torch.Size([10, 2]))
    >>> MimoProblem(n_rx=4, n_tx=2, constellation="qam-16")
    Traceback (most recent call last):
    ...
    cellfree_sim.errors.UserError: constellation: found 'qam-16'; allowed: qpsk, qam16, qam64, qam256; \
did you mean 'qam16'?
    """

    family: ClassVar[Family] = "mimo"

    n_rx: int
    n_tx: int
    modulation: str
    channel: Channel
    correlation: float
    correlated: Sides
    csi_error: float
    block: int

    def __init__(
        self,
        n_rx: int,
        n_tx: int,
        constellation: str = "qam16",
        channel: Channel = "rayleigh",
        correlation: float = 0.0,
        correlated: Sides = "none",
        csi_error: float = 0.0,
        block: int = 1,
    ) -> None:
        one_of("constellation", constellation, BITS)
        one_of("channel", channel, get_args(Channel))
        one_of("correlated", correlated, get_args(Sides))
        if channel == "awgn" and correlated != "none":
            raise UserError(f"correlated: found '{correlated}' with the channel 'awgn'; allowed: none")
        values = {
            "n_rx": whole("n_rx", n_rx, 1, MAX_ANTENNAS),
            "n_tx": whole("n_tx", n_tx, 1, MAX_ANTENNAS),
            "modulation": constellation,
            "channel": channel,
            "correlation": real("correlation", correlation, 0, 0.9999),
            "correlated": correlated,
            "csi_error": real("csi_error", csi_error, 0, 1e6),
            "block": whole("block", block, 1, MAX_BLOCK),
        }
        if correlation and correlated == "none":
            raise UserError(f"correlation: found {correlation:g}, but correlated is 'none'; allowed: 0, or say where")
        for key, value in values.items():
            object.__setattr__(self, key, value)

    def __repr__(self) -> str:
        return f"MimoProblem({', '.join(f'{key}={value!r}' for key, value in self.options().items())})"

    def options(self) -> dict[str, Any]:
        """The arguments that make this problem, by name."""
        return {"constellation" if key == "modulation" else key: value for key, value in asdict(self).items()}

    def changed(self, **options: Any) -> MimoProblem:
        """The same problem but for `options`.

        >>> MimoProblem(n_rx=64, n_tx=16).changed(n_tx=32).n_tx
        32
        """
        return MimoProblem(**{**self.options(), **options})

    @property
    def constellation(self) -> Tensor:
        """The points of all users, complex64 [M]."""
        return constellation(self.modulation).points

    @property
    def levels(self) -> Tensor:
        """Values of the real and of the imaginary part of a point, ascending, float32 [sqrt(M)]."""
        return constellation(self.modulation).levels

    @property
    def bits(self) -> Tensor:
        """Labels of the messages, Gray, most significant bit first, uint8 [M, log2 M]."""
        return constellation(self.modulation).bits

    @property
    def codebook(self) -> Tensor:
        """Codewords, complex64 [N, M, 1]: each user's are the points of the constellation."""
        return self.constellation.reshape(1, -1, 1).expand(self.n_tx, -1, -1)

    def noise_variance(self, snr_db: float) -> float:
        """E|noise|^2 of each antenna at an SNR: s^2 = (N / R) 10^(-SNR_dB / 10).

        >>> MimoProblem(n_rx=64, n_tx=32).noise_variance(10.0)
        0.05
        """
        return self.n_tx / self.n_rx * 10 ** (-real("snr_db", snr_db, -MAX_SNR_DB, MAX_SNR_DB) / 10)

    def sample(
        self,
        count: int,
        snr_db: float = 12.0,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str = "cpu",
    ) -> Batch:
        """`count` slots at an SNR: uniform messages of all users, fresh noise in each slot, a channel for each block.

        Everything is drawn by `generator` on its own device (`device` where there is none) and then moved, so that a
        generator of the CPU gives the same slots on every device. The last block is cut where `count` says so.
        """
        import torch

        whole("count", count, 0, 1_000_000_000)
        source = device if generator is None else generator.device
        variance = self.noise_variance(snr_db)
        h, h_known = self._channels(count, generator, source)
        points = self.constellation.to(source)
        messages = torch.randint(len(points), (count, self.n_tx), generator=generator, device=source)
        noise = complex_normal((count, self.n_rx), variance, generator, source)
        return Batch(
            y=(h @ points[messages].unsqueeze(-1)).squeeze(-1) + noise,
            h=h,
            h_known=h_known,
            noise_variance=torch.full((count,), variance, device=source),
            messages=messages,
            active=torch.ones(count, self.n_tx, dtype=torch.bool, device=source),
        ).to(device)

    def misfit(self, y: Any, h: Any, noise_variance: Any) -> str | None:
        """See `Problem.misfit`: y complex64 [S, R], h complex64 [S, R, N], noise_variance float32 [S]."""
        import torch

        for name, value, kind, axes in (
            ("y", y, torch.complex64, "slots, antennas"),
            ("h", h, torch.complex64, "slots, antennas, users"),
            ("noise_variance", noise_variance, torch.float32, "slots"),
        ):
            wrong = tensor_misfit(name, value, kind, axes)
            if wrong is not None:
                return wrong
        if h.shape[:2] != y.shape or noise_variance.shape != y.shape[:1]:
            shapes = f"y {list(y.shape)}, h {list(h.shape)}, noise_variance {list(noise_variance.shape)}"
            return f"found {shapes}; expected y [S, R], h [S, R, N], noise_variance [S]"
        if 0 in h.shape[1:]:
            return f"h: found {list(h.shape)}; expected at least one antenna and one user"
        return None

    def answers(self, y: Tensor, h: Tensor | None) -> tuple[int, int]:
        """See `Problem.answers`."""
        assert h is not None
        return h.shape[2], len(self.constellation)

    def _channels(
        self, count: int, generator: torch.Generator | None, device: torch.device | str
    ) -> tuple[Tensor, Tensor]:
        """The channels of `count` slots, true and known, complex64 [S, R, N] each."""
        blocks = -(-count // self.block)
        h = self._fading(blocks, generator, device)
        known = h
        if self.csi_error:
            known = h + complex_normal((blocks, self.n_rx, self.n_tx), self.csi_error / self.n_rx, generator, device)
        if self.block == 1:
            return h, known
        slots = h.repeat_interleave(self.block, dim=0)[:count]
        return slots, (known.repeat_interleave(self.block, dim=0)[:count] if self.csi_error else slots)

    def _fading(self, count: int, generator: torch.Generator | None, device: torch.device | str) -> Tensor:
        import torch

        if self.channel == "awgn":
            gain = 1 / math.sqrt(self.n_rx)
            return torch.full((count, self.n_rx, self.n_tx), gain, dtype=torch.complex64, device=device)
        return rayleigh(
            count,
            self.n_rx,
            self.n_tx,
            correlation=self.correlation,
            correlated=self.correlated,
            generator=generator,
            device=device,
        )
