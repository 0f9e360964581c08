"""Massive machine-type communication, non-coherent: who of many devices is active, and which of its pilots it sent."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from cellfree_sim.errors import UserError
from cellfree_sim.seeds import integer
from cellfree_sim.uplink.checks import one_of, real, tensor_misfit, whole
from cellfree_sim.uplink.fading import complex_normal
from cellfree_sim.uplink.path_loss import drop_distances, path_gain_db, relative_gains, station_positions
from cellfree_sim.uplink.problem import Batch, Family

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from cellfree_sim.uplink.pilots import Pilots

Gains = Literal["known", "estimated", "unknown"]
Power = Literal["per-pilot", "per-symbol"]
Positions = Literal["fresh", "fixed"]
PilotKinds = Literal["gaussian", "dft"]
MAX_DEVICES = 2_000_000
MAX_LENGTH = 1_000_000
MAX_ANTENNAS = 4096
NUMBERS_AT_ONCE = 2**25  # complex64, of what devices send in the frames that are made together


@dataclass(frozen=True, init=False, repr=False)
class MmtcProblem:
    """N devices, few of them active, each with its own Q = 2^J pilots: an active one sends J bits by sending one pilot.

        y_m = sum_n a_n h_(n,m) s_(n, message of n) + noise,    h_(n,m) ~ CN(0, g_n)

    on the antennas m of the receiver. The pilots, of L samples and unit norm, belong to the problem and follow from
    `pilot_seed`. Nobody knows the fading h; the receiver may know its mean power, the large-scale gain g_n.

    Conventions: the noise is CN(0, 1) on each sample and antenna. g_n is the energy of a pilot as received at an
    antenna, over the noise: with `power` per-pilot, the transmit power (23 dBm) is the energy of the whole pilot, so
    that g_n in dB is 23 - (128.1 + 36.7 log10 d_km) + 109 for -169 dBm/Hz in 1 MHz, 3.9 dB at 1 km; with per-symbol it
    is that of each of the L samples.

    Messages are states: 0 is a device that is not active, q = 1 … Q one that sent its pilot q - 1.

    Cell-free form: with `stations` B > 1, the M antennas are spread evenly over B stations on a ring around the centre
    (`station_of`), and each device has a gain to each of them.

    Attributes:
        devices: N.
        bits: J of a message.
        pilot_length: L.
        antennas: M of all stations together.
        activity: probability that a device is active in a frame; one for all, or one for each device.
        pilots: gaussian (random, written out), or dft (random rows of a Fourier matrix, never written out).
        pilot_seed: of the pilots, and of fixed positions.
        gains: what receivers know of g: known, estimated (off by `gain_error_db`), or unknown.
        gain_error_db: standard deviation of the error of estimated gains, in dB.
        power: per-pilot or per-symbol.
        power_dbm: transmit power.
        noise_dbm_hz: noise density.
        bandwidth_hz: bandwidth.
        radii_km: smallest and largest distance from the centre; uniform in between.
        positions: fresh (new in each block of frames), or fixed (one drop, by `pilot_seed`).
        stations: B.
        ring_km: radius of the ring of stations.
        burst: mean number of frames in a row that a device stays active (a Markov chain over the frames of a sample),
            or None: each frame by itself.
        block: number of consecutive frames with the same fading and positions.

    >>> problem = MmtcProblem(devices=100, bits=1, pilot_length=40, antennas=16)
    >>> import torch
    >>> batch = problem.sample(10, generator=torch.Generator().manual_seed(1))
    >>> batch.y.shape, batch.h.shape, batch.messages.shape
    (torch.Size([10, 40, 16]), torch.Size([10, 100]), torch.Size([10, 100]))
    >>> MmtcProblem(pilots="fourier")
    Traceback (most recent call last):
    ...
    cellfree_sim.errors.UserError: pilots: found 'fourier'; allowed: gaussian, dft
    """

    family: ClassVar[Family] = "mmtc"

    devices: int
    bits: int
    pilot_length: int
    antennas: int
    activity: float | tuple[float, ...]
    pilots: PilotKinds
    pilot_seed: int
    gains: Gains
    gain_error_db: float
    power: Power
    power_dbm: float
    noise_dbm_hz: float
    bandwidth_hz: float
    radii_km: tuple[float, float]
    positions: Positions
    stations: int
    ring_km: float
    burst: float | None
    block: int

    def __init__(
        self,
        devices: int = 100,
        bits: int = 1,
        pilot_length: int = 40,
        antennas: int = 16,
        activity: float | tuple[float, ...] = 0.1,
        pilots: PilotKinds = "gaussian",
        pilot_seed: int = 1,
        gains: Gains = "known",
        gain_error_db: float = 0.0,
        power: Power = "per-pilot",
        power_dbm: float = 23.0,
        noise_dbm_hz: float = -169.0,
        bandwidth_hz: float = 1e6,
        radii_km: tuple[float, float] = (0.05, 1.0),
        positions: Positions = "fresh",
        stations: int = 1,
        ring_km: float = 0.5,
        burst: float | None = None,
        block: int = 1,
    ) -> None:
        one_of("pilots", pilots, get_args(PilotKinds))
        one_of("gains", gains, get_args(Gains))
        one_of("power", power, get_args(Power))
        one_of("positions", positions, get_args(Positions))
        values = {
            "devices": whole("devices", devices, 1, MAX_DEVICES),
            "bits": whole("bits", bits, 1, 8),
            "pilot_length": whole("pilot_length", pilot_length, 1, MAX_LENGTH),
            "antennas": whole("antennas", antennas, 1, MAX_ANTENNAS),
            "activity": _activity(activity, devices),
            "pilots": pilots,
            "pilot_seed": whole("pilot_seed", pilot_seed, 0, 2**63 - 1),
            "gains": gains,
            "gain_error_db": real("gain_error_db", gain_error_db, 0, 100),
            "power": power,
            "power_dbm": real("power_dbm", power_dbm, -200, 200),
            "noise_dbm_hz": real("noise_dbm_hz", noise_dbm_hz, -300, 100),
            "bandwidth_hz": real("bandwidth_hz", bandwidth_hz, 1, 1e12),
            "radii_km": _radii(radii_km),
            "positions": positions,
            "stations": whole("stations", stations, 1, antennas),
            "ring_km": real("ring_km", ring_km, 0, 1e4),
            "burst": None if burst is None else real("burst", burst, 1, 1e9),
            "block": whole("block", block, 1, 1_000_000),
        }
        for key, value in values.items():
            object.__setattr__(self, key, value)
        self._check_together()

    def _check_together(self) -> None:
        if (self.gain_error_db > 0) != (self.gains == "estimated"):
            allowed = "more than 0" if self.gains == "estimated" else "0, or gains 'estimated'"
            raise UserError(
                f"gain_error_db: found {self.gain_error_db:g} with gains '{self.gains}'; allowed: {allowed}"
            )
        if self.antennas % self.stations:
            raise UserError(f"stations: found {self.stations}; allowed: a divisor of the {self.antennas} antennas")
        most = max(self.activity) if isinstance(self.activity, tuple) else self.activity
        if self.burst is not None and most / (1 - most) > self.burst:
            least = most / (1 - most)
            raise UserError(f"burst: found {self.burst:g}; allowed: at least {least:g} for an activity of {most:g}")
        if self.pilots == "gaussian":
            entries = self.devices * self.per_device * self.pilot_length
            if entries > 2**27:
                raise UserError(f"pilots: found 'gaussian' with {entries} numbers; allowed: up to {2**27}, or 'dft'")
        elif self.pilot_length > self.devices * self.per_device:
            most_samples = self.devices * self.per_device
            raise UserError(f"pilot_length: found {self.pilot_length}; allowed: up to {most_samples} with 'dft' pilots")

    def __repr__(self) -> str:
        return f"MmtcProblem({', '.join(f'{key}={value!r}' for key, value in self.options().items())})"

    def options(self) -> dict[str, Any]:
        """The arguments that make this problem, by name."""
        return asdict(self)

    def changed(self, **options: Any) -> MmtcProblem:
        """The same problem but for `options`.

        >>> MmtcProblem().changed(pilot_length=20).pilot_length
        20
        """
        return MmtcProblem(**{**self.options(), **options})

    @property
    def per_device(self) -> int:
        """Pilots of a device, Q = 2^J."""
        return int(2**self.bits)

    @property
    def states(self) -> int:
        """States of a device, 1 + Q: not active, or one of its pilots."""
        return 1 + self.per_device

    @property
    def operator(self) -> Pilots:
        """All pilots as an operator (see `cellfree_sim.uplink.pilots`), made once and shared."""
        from cellfree_sim.uplink.pilots import pilots_of

        return pilots_of(self.pilots, self.devices, self.per_device, self.pilot_length, self.pilot_seed)

    @property
    def codebook(self) -> Tensor:
        """The pilots, complex64 [N, Q, L]; UserError where they are too many to be written out."""
        return self.operator.dense()

    @property
    def station_of(self) -> tuple[int, ...]:
        """The station that each antenna belongs to: the same number for each, one station after the other."""
        return tuple(antenna * self.stations // self.antennas for antenna in range(self.antennas))

    @property
    def edge_snr_db(self) -> float:
        """Energy of a pilot over the noise at the largest radius, dB.

        >>> import math
        >>> round(MmtcProblem().edge_snr_db, 6), round(MmtcProblem(power="per-symbol").edge_snr_db, 2)
        (3.9, 19.92)
        """
        import math

        noise_dbm = self.noise_dbm_hz + 10 * math.log10(self.bandwidth_hz)
        samples_db = 10 * math.log10(self.pilot_length) if self.power == "per-symbol" else 0.0
        return self.power_dbm + samples_db + path_gain_db(self.radii_km[1]) - noise_dbm

    def activities(self, device: torch.device | str = "cpu") -> Tensor:
        """Probability that each device is active, float32 [N]."""
        import torch

        return torch.as_tensor(self.activity, dtype=torch.float32, device=device).expand(self.devices)

    def sample(
        self,
        count: int,
        snr_db: float | None = None,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str = "cpu",
        gains: Tensor | None = None,
        active: Tensor | None = None,
    ) -> Batch:
        """`count` frames: y complex64 [S, L, M], h float32 [S, N] (or [S, N, B]), messages (states) int64 [S, N].

        `h_known` is what receivers know of h: h itself, an estimate, or None. All is drawn by `generator` on its own
        device (`device` where there is none) and then moved.

        Args:
            count: frames.
            snr_db: energy of a pilot over the noise at the largest radius, instead of what follows from the power.
            generator: of everything drawn.
            device: where the frames are wanted.
            gains: g [S, N] or [S, N, B] over the noise, instead of those of a drop.
            active: who is active in each frame, bool [S, N] (a trace), instead of what `activity` and `burst` give.
        """
        import torch

        whole("count", count, 0, 1_000_000_000)
        source = device if generator is None else generator.device
        edge_db = None if snr_db is None else real("snr_db", snr_db, -200, 200)
        shape = (count, self.devices) if self.stations == 1 else (count, self.devices, self.stations)
        h = self.draw_gains(count, edge_db, generator=generator, device=source) if gains is None else gains.to(source)
        sends = self._active(count, generator, source) if active is None else active.to(source)
        if h.shape != shape or sends.shape != shape[:2]:
            found = f"gains {list(h.shape)}, active {list(sends.shape)}"
            raise UserError(f"sample: found {found}; allowed: gains {list(shape)}, active {list(shape[:2])}")
        pilot = torch.randint(1, self.states, (count, self.devices), generator=generator, device=source)
        messages = pilot * sends
        return Batch(
            y=self._received(h, messages, generator, source),
            h=h,
            h_known=self._known(h, generator, source),
            noise_variance=torch.ones(count, device=source),
            messages=messages,
            active=sends,
        ).to(device)

    def draw_gains(
        self,
        count: int,
        snr_db: float | None = None,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Gains over the noise in `count` frames, float32 [S, N], or [S, N, B] with several stations; see `sample`."""
        import torch

        edge_db = self.edge_snr_db if snr_db is None else snr_db
        stations = station_positions(self.stations, self.ring_km, device)
        drops, draw = -(-count // self.block), generator
        if self.positions == "fixed":
            drops, draw = 1, torch.Generator(device=device).manual_seed(integer(self.pilot_seed, "positions"))
        distances = drop_distances(drops, self.devices, stations, self.radii_km, generator=draw, device=device)
        gains = 10 ** (edge_db / 10) * relative_gains(distances, self.radii_km[1])
        frames = gains.expand(count, -1, -1) if self.positions == "fixed" else self._by_frame(gains, count)
        return frames if self.stations > 1 else frames.squeeze(-1)

    def misfit(self, y: Any, h: Any, noise_variance: Any) -> str | None:
        """See `Problem.misfit`: y complex64 [S, L, M], h float32 [S, N] ([S, N, B]) or None, noise_variance [S]."""
        import torch

        gains_axes = "frames, devices" if self.stations == 1 else "frames, devices, stations"
        for name, value, kind, axes in (
            ("y", y, torch.complex64, "frames, samples, antennas"),
            ("h", h, torch.float32, gains_axes),
            ("noise_variance", noise_variance, torch.float32, "frames"),
        ):
            wrong = None if name == "h" and h is None else tensor_misfit(name, value, kind, axes)
            if wrong is not None:
                return wrong
        frames = len(y)
        expected = {"y": [frames, self.pilot_length, self.antennas], "noise_variance": [frames]}
        if h is not None:
            expected["h"] = [frames, self.devices, *([self.stations] if self.stations > 1 else [])]
            if not bool((h >= 0).all()):
                return "h: found a gain below 0, or none; expected gains of at least 0"
        for name, value in (("y", y), ("h", h), ("noise_variance", noise_variance)):
            if value is not None and list(value.shape) != expected[name]:
                return f"{name}: found {list(value.shape)}; expected {expected[name]}"
        return None

    def answers(self, y: Tensor, h: Tensor | None) -> tuple[int, int]:
        """See `Problem.answers`."""
        return self.devices, self.states

    def _by_frame(self, of_blocks: Tensor, count: int) -> Tensor:
        return of_blocks if self.block == 1 else of_blocks.repeat_interleave(self.block, dim=0)[:count]

    def _active(self, count: int, generator: torch.Generator | None, source: torch.device | str) -> Tensor:
        """Who is active, bool [S, N]."""
        import torch

        chance = self.activities(source)
        uniform = torch.rand(count, self.devices, generator=generator, device=source)
        active = uniform < chance
        if self.burst is not None:
            begins = chance / (1 - chance) / self.burst
            for frame in range(1, count):
                stay = torch.where(active[frame - 1], 1 - 1 / self.burst, begins)
                active[frame] = uniform[frame] < stay
        return active

    def _received(
        self, h: Tensor, messages: Tensor, generator: torch.Generator | None, source: torch.device | str
    ) -> Tensor:
        """Received frames, complex64 [S, L, M], some at a time: the devices' side of them takes much more room."""
        import torch

        operator = self.operator.to(source)
        amplitude = h.sqrt().reshape(len(h), self.devices, self.stations)
        blocks = max(1, NUMBERS_AT_ONCE // (self.antennas * operator.count * self.block))
        step = blocks * self.block
        parts = []
        for first in range(0, len(h), step):
            sent, amplitudes = messages[first : first + step], amplitude[first : first + step]
            frames = len(sent)
            shape = (-(-frames // self.block), self.stations, self.antennas // self.stations, self.devices)
            fading = self._by_frame(complex_normal(shape, 1.0, generator, source), frames)
            fading = (fading * amplitudes.transpose(1, 2).unsqueeze(2)).reshape(frames, self.antennas, -1, 1)
            chosen = sent.unsqueeze(-1) == torch.arange(1, self.states, device=source)
            signal = operator.forward((fading * chosen.unsqueeze(1)).flatten(2))
            noise = complex_normal(tuple(signal.shape), 1.0, generator, source)
            parts.append((signal + noise).mT)
        if not parts:
            return torch.zeros(0, self.pilot_length, self.antennas, dtype=torch.complex64, device=source)
        return torch.cat(parts).contiguous()

    def _known(self, h: Tensor, generator: torch.Generator | None, source: torch.device | str) -> Tensor | None:
        import torch

        if self.gains == "estimated":
            error_db = self.gain_error_db * torch.randn(h.shape, generator=generator, device=source)
            return h * 10 ** (error_db / 10)
        return h if self.gains == "known" else None


def _activity(value: Any, devices: int) -> float | tuple[float, ...]:
    """The activity of all devices, or of each, checked."""
    if not isinstance(value, (tuple, list)):
        return real("activity", value, 1e-9, 0.999)
    if len(value) != devices:
        raise UserError(f"activity: found {len(value)} numbers; allowed: one, or one for each of the {devices} devices")
    return tuple(real("activity", each, 1e-9, 0.999) for each in value)


def _radii(value: Any) -> tuple[float, float]:
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise UserError(f"radii_km: found {value!r}; allowed: the smallest and the largest distance")
    least, most = (real("radii_km", each, 1e-3, 1e3) for each in value)
    if least > most:
        raise UserError(f"radii_km: found {least:g}, {most:g}; allowed: the smaller one first")
    return least, most
