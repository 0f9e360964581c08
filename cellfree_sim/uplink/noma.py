"""Grant-free NOMA: more users than resources, each with a codebook of its own, any of them silent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from pydantic import ValidationError

from cellfree_sim.errors import CodebookError, UserError
from cellfree_sim.uplink.checks import one_of, real, tensor_misfit, whole
from cellfree_sim.uplink.codebook import MAX_RATE, Codebook, CodebookOptions
from cellfree_sim.uplink.fading import complex_normal
from cellfree_sim.uplink.problem import Batch, Family

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Channel = Literal["awgn", "flat", "rayleigh"]
Energy = Literal["unit", "resources"]
MAX_USERS = 1024
MAX_RESOURCES = 1024
MAX_ANTENNAS = 256
MAX_SNR_DB = 200.0
LEAST_ACTIVITY = 1e-6


@dataclass(frozen=True, init=False, repr=False)
class NomaProblem:
    """N users send codewords on K resources, to A antennas; the receiver knows the channels and the codebook:

        y = sum_n a_n h_n * c_n(m_n) + noise,   a_n ~ Bernoulli(p_n),   m_n uniform over 2^rate messages,

    where * multiplies entry by entry. R = A K samples are received, antenna by antenna: a codeword of K samples is
    repeated for each antenna, so that y is complex64 [S, R] and h complex64 [S, N, R]. `messages` is -1 where a user is
    silent. Logits have an entry for each message, of all users as many as the one with most has (-inf where a user
    has fewer), and where users may be silent one more, the last: silence.

    Conventions: the noise is CN(0, s^2) on each sample with s^2 = 10^(-SNR_dB / 10); E|h|^2 is the received power of a
    user, on each antenna. A codeword has the mean energy E||c_n||^2 = 1 (`energy="unit"`: the SNR is that of one user
    after its matched filter) or K (`energy="resources"`: of one user on each resource), for every codebook and user.

    Attributes:
        users: N.
        resources: K.
        rates: bits of a message of each user.
        activity: p_n of each user, or None: all users always send, and silence is no answer.
        channel: awgn (h = 1), flat (Rayleigh, one coefficient for each user and antenna), or rayleigh (independent on
            each resource).
        design: the codebook that was given as `codebook`: options of one, or a codebook.
        book: the codebook itself, with codewords of the energy that `energy` says.
        csi_error: the receiver knows h + w, w ~ CN(0, csi_error) times the received power: 0.01 is an error of -20 dB.
            w is as selective as the channel: one for each user and antenna, or on each resource with rayleigh.
        received_power_db: of each user.
        antennas: A.
        energy: of a codeword, unit or resources.

    >>> problem = NomaProblem(6, 4, activity=(0.8, 0.8, 0.8, 0.4, 0.4, 0.4), channel="flat", codebook="wbe")
    >>> batch = problem.sample(10, snr_db=20.0)
    >>> batch.y.shape, batch.h.shape, batch.messages.shape, problem.codebook.shape
    (torch.Size([10, 4]), torch.Size([10, 6, 4]), torch.Size([10, 6]), torch.Size([6, 4, 4]))
    >>> NomaProblem(6, 4, rates=0)
    Traceback (most recent call last):
    ...
    cellfree_sim.errors.UserError: rates: found 0; allowed: a whole number from 1 to 8
    """

    family: ClassVar[Family] = "noma"

    users: int
    resources: int
    rates: tuple[int, ...]
    activity: tuple[float, ...] | None
    channel: Channel
    design: CodebookOptions | Codebook
    book: Codebook
    csi_error: float
    received_power_db: tuple[float, ...]
    antennas: int
    energy: Energy

    def __init__(
        self,
        users: int = 6,
        resources: int = 4,
        rates: int | tuple[int, ...] = 2,
        activity: float | tuple[float, ...] | None = None,
        channel: Channel = "awgn",
        codebook: str | Mapping[str, Any] | CodebookOptions | Codebook = "wbe",
        csi_error: float = 0.0,
        received_power_db: float | tuple[float, ...] = 0.0,
        antennas: int = 1,
        energy: Energy = "unit",
    ) -> None:
        whole("users", users, 1, MAX_USERS)
        whole("resources", resources, 1, MAX_RESOURCES)
        one_of("channel", channel, get_args(Channel))
        one_of("energy", energy, get_args(Energy))
        bits = tuple(whole("rates", rate, 1, MAX_RATE) for rate in _each("rates", rates, users))
        p = None
        if activity is not None:
            p = tuple(real("activity", one, LEAST_ACTIVITY, 1) for one in _each("activity", activity, users))
        design = _design(codebook)
        book = _book(design, users, resources, bits, p).scaled(1.0 if energy == "unit" else float(resources))
        powers = _each("received_power_db", received_power_db, users)
        values = {
            "users": users,
            "resources": resources,
            "rates": bits,
            "activity": p,
            "channel": channel,
            "design": design,
            "book": book,
            "csi_error": real("csi_error", csi_error, 0, 1e6),
            "received_power_db": tuple(real("received_power_db", power, -MAX_SNR_DB, MAX_SNR_DB) for power in powers),
            "antennas": whole("antennas", antennas, 1, MAX_ANTENNAS),
            "energy": energy,
        }
        for key, value in values.items():
            object.__setattr__(self, key, value)

    def __repr__(self) -> str:
        return f"NomaProblem({', '.join(f'{key}={value!r}' for key, value in self.options().items())})"

    def options(self) -> dict[str, Any]:
        """The arguments that make this problem, by name: plain values, but for a codebook that was given as such."""
        design = self.design
        names = ("users", "resources", "rates", "activity", "channel")
        rest = ("csi_error", "received_power_db", "antennas", "energy")
        return {
            **{name: getattr(self, name) for name in names},
            "codebook": design if isinstance(design, Codebook) else design.model_dump(mode="json"),
            **{name: getattr(self, name) for name in rest},
        }

    def changed(self, **options: Any) -> NomaProblem:
        """The same problem but for `options`.

        >>> NomaProblem(6, 4).changed(channel="flat").channel
        'flat'
        """
        return NomaProblem(**{**self.options(), **options})

    @property
    def silence(self) -> bool:
        """Whether users may be silent, so that silence is an answer."""
        return self.activity is not None

    @property
    def counts(self) -> tuple[int, ...]:
        """Messages of each user."""
        return self.book.counts

    @property
    def block(self) -> int:
        """Number of consecutive slots with the same channel."""
        return 1

    @property
    def bits(self) -> Tensor:
        """Labels of the messages, most significant bit first, uint8 [M, B]; a user has the last bits, its rate of them.

        >>> NomaProblem(2, 2, rates=(1, 2)).bits.tolist()
        [[0, 0], [0, 1], [1, 0], [1, 1]]
        """
        import torch

        most = max(self.rates)
        message = torch.arange(2**most)
        return ((message.unsqueeze(-1) >> torch.arange(most - 1, -1, -1)) & 1).to(torch.uint8)

    @property
    def codebook(self) -> Tensor:
        """Codewords, complex64 [N, M, K]; zeros where a user has fewer messages."""
        import torch

        return torch.from_numpy(self.book.codewords.copy())

    @property
    def log_prior(self) -> Tensor:
        """ln P of each answer of each user, float32 [N, M] or, with silence, [N, M + 1]: -inf where there is none."""
        import torch

        p = torch.tensor(self.activity or [1.0] * self.users, dtype=torch.float64)
        counts = torch.tensor(self.counts)
        prior = (p / counts).log().unsqueeze(-1).repeat(1, int(counts.max()))
        prior[torch.arange(prior.shape[1]) >= counts.unsqueeze(-1)] = -torch.inf
        if self.silence:
            prior = torch.cat([prior, (1 - p).log().unsqueeze(-1)], dim=-1)
        return prior.float()

    def noise_variance(self, snr_db: float) -> float:
        """E|noise|^2 of each sample at an SNR: s^2 = 10^(-SNR_dB / 10)."""
        return float(10 ** (-real("snr_db", snr_db, -MAX_SNR_DB, MAX_SNR_DB) / 10))

    def sample(
        self,
        count: int,
        snr_db: float = 12.0,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str = "cpu",
    ) -> Batch:
        """`count` slots at an SNR, each with its own activity, messages, channel and noise.

        Everything is drawn by `generator` on its own device (`device` where there is none) and then moved.
        """
        import torch

        whole("count", count, 0, 1_000_000_000)
        source = device if generator is None else generator.device
        variance = self.noise_variance(snr_db)
        users, samples = self.users, self.antennas * self.resources
        messages = torch.randint(1 << max(self.rates), (count, users), generator=generator, device=source)
        messages %= torch.tensor(self.counts, device=source)
        active = torch.ones(count, users, dtype=torch.bool, device=source)
        if self.activity is not None:
            chance = torch.rand(count, users, generator=generator, device=source)
            active = chance < torch.tensor(self.activity, device=source)
        h, known = self._channels(count, generator, source)
        messages = torch.where(active, messages, -1)
        noise = complex_normal((count, samples), variance, generator, source)
        return Batch(
            y=superposed(self.codebook.to(source), h, messages) + noise,
            h=h,
            h_known=known,
            noise_variance=torch.full((count,), variance, device=source),
            messages=messages,
            active=active,
        ).to(device)

    def misfit(self, y: Any, h: Any, noise_variance: Any) -> str | None:
        """See `Problem.misfit`: y complex64 [S, R], h complex64 [S, N, R], noise_variance float32 [S], R = A K."""
        import torch

        for name, value, kind, axes in (
            ("y", y, torch.complex64, "slots, samples"),
            ("h", h, torch.complex64, "slots, users, samples"),
            ("noise_variance", noise_variance, torch.float32, "slots"),
        ):
            wrong = tensor_misfit(name, value, kind, axes)
            if wrong is not None:
                return wrong
        if h.shape[::2] != y.shape or noise_variance.shape != y.shape[:1]:
            shapes = f"y {list(y.shape)}, h {list(h.shape)}, noise_variance {list(noise_variance.shape)}"
            return f"found {shapes}; expected y [S, R], h [S, N, R], noise_variance [S]"
        if h.shape[1] != self.users:
            return f"h: found {h.shape[1]} users; expected {self.users}, as the codebook has"
        if h.shape[2] == 0 or h.shape[2] % self.resources:
            return f"y: found {h.shape[2]} samples; expected {self.resources}, the resources, for each antenna"
        return None

    def answers(self, y: Tensor, h: Tensor | None) -> tuple[int, int]:
        """See `Problem.answers`."""
        return self.users, max(self.counts) + self.silence

    def _channels(
        self, count: int, generator: torch.Generator | None, device: torch.device | str
    ) -> tuple[Tensor, Tensor]:
        """The channels of `count` slots, true and known, complex64 [S, N, R] each; the same tensor where exact."""
        import torch

        amplitude = 10 ** (torch.tensor(self.received_power_db, device=device) / 20)
        shape = (count, self.users, self.antennas, self.resources if self.channel == "rayleigh" else 1)

        def on_samples(values: Tensor) -> Tensor:
            scaled = values * amplitude[:, None, None]
            return scaled.expand(-1, -1, -1, self.resources).flatten(2)

        if self.channel == "awgn":
            gain = torch.ones(1, *shape[1:], dtype=torch.complex64, device=device)
            h = on_samples(gain).expand(count, -1, -1)
        else:
            h = on_samples(complex_normal(shape, 1.0, generator, device))
        if not self.csi_error:
            return h, h
        return h, h + on_samples(complex_normal(shape, self.csi_error, generator, device))


def superposed(codebook: Tensor, h: Tensor, messages: Tensor) -> Tensor:
    """What arrives but for the noise, sum_n h_n * c_n(m_n): complex [S, R]. Gradients flow to the codebook.

    Args:
        codebook: [N, M, K].
        h: channels [S, N, R], R = A K.
        messages: int64 [S, N], -1 where a user is silent.
    """
    import torch

    sent = codebook[torch.arange(len(codebook), device=codebook.device), messages.clamp_min(0)]  # [S, N, K]
    sent = sent * (messages >= 0).unsqueeze(-1)
    return (h * sent.repeat(1, 1, h.shape[-1] // codebook.shape[-1])).sum(dim=1)


def _each(what: str, value: Any, users: int) -> tuple[Any, ...]:
    """One value for each user, from a sequence of them or one for all."""
    if not isinstance(value, (tuple, list)):
        return (value,) * users
    if len(value) != users:
        raise UserError(f"{what}: found {len(value)} values; allowed: one, or one for each of {users} users")
    return tuple(value)


def _design(codebook: Any) -> CodebookOptions | Codebook:
    """Options of a codebook, or a codebook, from whatever was given for it."""
    from cellfree_sim.scenario.extensions import CODEBOOKS
    from cellfree_sim.scenario.suggest import on_one_line

    if isinstance(codebook, (CodebookOptions, Codebook)):
        return codebook
    options = dict(codebook) if isinstance(codebook, Mapping) else {"name": codebook}
    name = options.pop("name", None)
    one_of("codebook", name, CODEBOOKS.names())
    try:
        design: CodebookOptions = CODEBOOKS.create(name, **options)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(step) for step in first["loc"])
        raise CodebookError(f"codebook '{name}': {where}: {on_one_line(first['msg'], 200)}") from None
    return design


def _book(
    design: CodebookOptions | Codebook,
    users: int,
    resources: int,
    rates: tuple[int, ...],
    activity: tuple[float, ...] | None,
) -> Codebook:
    """The codebook that was designed or given, if it fits."""
    if isinstance(design, Codebook):
        book = design
    else:  # a file may have another content each time
        made = design.design if design.from_file else partial(_designed, design)
        book = made(users, resources, rates, activity)
    expected = tuple(2**rate for rate in rates)
    if (book.users, book.resources) != (users, resources):
        found = f"found one of {book.users} users on {book.resources} resources"
        raise CodebookError(f"codebook: {found}; expected {users} users on {resources} resources")
    if book.counts != expected:
        found = f"found {', '.join(map(str, book.counts))} messages"
        raise CodebookError(f"codebook: {found}; expected {', '.join(map(str, expected))}, as the rates say")
    return book


@lru_cache(maxsize=256)
def _designed(
    design: CodebookOptions,
    users: int,
    resources: int,
    rates: tuple[int, ...],
    activity: tuple[float, ...] | None,
) -> Codebook:
    return design.design(users, resources, rates, activity)
