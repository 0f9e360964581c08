"""Trained policies as files: what a run has learned, for other runs to start from or to execute as it is.

A file is one line of text, a SHA-256 digest, and a msgpack map:

    b"cellfree-policy 1\\n" · digest of the rest (32 bytes) · {scenario, policy, sizes, networks, …}

`networks` maps names to the state of a network, arrays as they travel between stations. There is one network that
serves any station ("shared"), one for each station ("stations", by their names), or one for all stations at once
("central"). Reading a file of unknown origin can fail, but it cannot run code.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from cellfree_sim.backhaul.arrays import unpack_array
from cellfree_sim.backhaul.sealed import Seal, packed_array
from cellfree_sim.downlink.policy import policy_shape
from cellfree_sim.errors import ScenarioError
from cellfree_sim.registry import MisfitError
from cellfree_sim.scenario.suggest import did_you_mean, listed, on_one_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import nn

    from cellfree_sim.downlink.policy import Policy, PolicyShape
    from cellfree_sim.scenario.schema import Scenario

Kind: TypeAlias = Literal["shared", "stations", "central"]
Weights: TypeAlias = "dict[str, NDArray[Any]]"
KINDS: tuple[Kind, ...] = ("shared", "stations", "central")
SUFFIX = ".policy"
SHARED = "all"  # the name of the one network that serves any station
MAX_BYTES = 512 * 2**20
_SEAL = Seal("cellfree-policy", 1, "trained policy", ScenarioError)
_SHIPPED = Path(__file__).parents[1] / "trained_policies"
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")  # of batch normalisation
_RUN_FILES = ("scenario.yaml", "run.log")
_SIZES = {
    "tx_antennas": "antennas of a station",
    "rx_antennas": "antennas of a user",
    "users": "users",
    "subcarriers": "subcarriers",
    "stations": "stations",
    "loss_weights": "learned loss weights",
}


@dataclass(frozen=True)
class TrainedPolicy:
    """What a run has learned.

    Attributes:
        name, algorithm: of the run's scenario.
        kind: whom the networks serve, see the module.
        policy: name and options of the policy, as in a scenario.
        sizes: what it was trained for, the fields of `PolicyShape`.
        networks: names and arrays of the state of each network.
        scenario: the run's scenario as YAML, with every default.
        seed, steps: of the run; training steps that were done.
        made_by: version of this project.
        validation_sum_rate: on the run's validation realisations, bit/s/Hz; None where it was not measured.
    """

    name: str
    algorithm: str
    kind: Kind
    policy: dict[str, Any]
    sizes: dict[str, int]
    networks: dict[str, Weights]
    scenario: str
    seed: int
    steps: int
    made_by: str
    validation_sum_rate: float | None = None

    @property
    def parameters(self) -> int:
        """Numbers in one of its networks that were learned."""
        weights = next(iter(self.networks.values()))
        return sum(array.size for name, array in weights.items() if name.rpartition(".")[2] not in _STATISTICS)

    def to_bytes(self) -> bytes:
        """The file."""
        body = {field.name: getattr(self, field.name) for field in fields(self)}
        body["networks"] = {
            name: {key: packed_array(key, array) for key, array in weights.items()}
            for name, weights in self.networks.items()
        }
        return _SEAL.closed(body)

    def network_of(self, station: str, stations: list[str]) -> Weights | None:
        """The weights for a station of a scenario with `stations`; None for one that came later, and has none here.

        Policies of single stations go by name, and by order where no name is known.
        """
        if self.kind != "stations":
            return next(iter(self.networks.values()))
        if any(name in self.networks for name in stations):
            return self.networks.get(station)
        return dict(zip(stations, self.networks.values(), strict=True)).get(station)


def shipped_policies() -> dict[str, Path]:
    """Files of the trained policies that come with the package, by name."""
    return {path.stem: path for path in sorted(_SHIPPED.glob(f"*{SUFFIX}"))}


def find_trained(text: str, folder: Path | None = None) -> Path:
    """The file that `text` means: a path, relative to `folder` or to where we are, or the name of a shipped policy.

    Raises:
        ScenarioError: there is neither.
    """
    shipped = shipped_policies()
    if not text:
        raise ScenarioError(f"found '', an empty name; allowed: a file, or one of {listed(list(shipped))}")
    try:
        path = Path(text).expanduser()
        for place in (folder or Path(), Path()):
            if (place / path).is_file():
                return (place / path).resolve()
        if text in shipped:
            return shipped[text]
        for place in (folder or Path(), Path()):
            if all((place / path / name).is_file() for name in _RUN_FILES):
                raise ScenarioError(
                    f"found '{on_one_line(text, 200)}', the folder of a run; allowed: the file that 'cellfree policies "
                    f"export {on_one_line(text, 200)}' writes"
                )
        beside = sorted(str(path.with_name(file.name)) for file in path.parent.glob(f"*{SUFFIX}"))
    except ScenarioError:
        raise
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: there is no such user, as in ~user
        reason = getattr(error, "strerror", None) or str(error)
        raise ScenarioError(f"found '{on_one_line(text, 200)}', which cannot be read: {reason}") from None
    raise ScenarioError(
        f"found '{on_one_line(text, 200)}', no such file or shipped policy; allowed: a file, or one of "
        f"{listed(list(shipped))}{did_you_mean(text, [*shipped, *beside])}"
    )


def read_trained(path: Path) -> TrainedPolicy:
    """The trained policy in a file.

    Raises:
        ScenarioError: it cannot be read, is damaged, or is something else.
    """
    try:
        about = path.stat()
        if about.st_size > MAX_BYTES:
            raise ScenarioError(f"found '{path.name}' of {about.st_size} bytes; allowed: at most {MAX_BYTES}")
        return _read(path, about.st_mtime_ns, about.st_size)
    except OSError as error:
        raise ScenarioError(f"found '{path.name}', which cannot be read: {error.strerror or error}") from None


def with_trained_options(options: dict[str, Any], folder: Path | None) -> tuple[dict[str, Any], TrainedPolicy]:
    """Options of a policy that starts from a trained one, those that are not given being the trained one's; and that.

    Raises:
        MisfitError: there is no such file, or its policy has another name.
    """
    given = options["trained"]
    try:
        path = find_trained(given, folder)
        trained = read_trained(path)
    except ScenarioError as error:
        raise MisfitError(("trained",), str(error)) from None
    if options.get("name") != trained.policy["name"]:
        raise _other_option("name", options.get("name"), trained, given)
    where = given if path == shipped_policies().get(given) else str(path)
    return {**trained.policy, **options, "trained": where}, trained


def check_options(policy: Policy, trained: TrainedPolicy, given: str) -> None:
    """`MisfitError` where an option of a policy is not that of the trained one, which the scenario calls `given`."""
    for key, found in policy.model_dump(mode="json", include=set(trained.policy)).items():
        if found != trained.policy[key]:
            raise _other_option(key, found, trained, given)


def check_fits(scenario: Scenario, *, central: bool) -> None:
    """`MisfitError` where the trained policy that the scenario starts from was made for something else."""
    policy: Policy = scenario.downlink.policy
    assert policy.trained is not None
    trained = read_trained(find_trained(policy.trained))
    found = f"found '{on_one_line(policy.trained)}'"
    if central != (trained.kind == "central"):
        wanted, made = ("cmtssl", "dmtssl") if central else ("dmtssl", "cmtssl")
        raise _misfit(f"{found}, trained by {made}; allowed: one trained by {wanted}, as downlink.algorithm says")
    names = scenario.station_names
    known = set(names) & set(trained.networks)
    fits = known == set(names) if known else len(names) == len(trained.networks)
    if trained.kind == "stations" and not fits:
        made = listed([on_one_line(name) for name in trained.networks], limit=6)
        raise _misfit(
            f"{found}, with one policy for each of {made}; allowed: one for each of the {len(names)} stations, all of "
            f"them by name or (where no name is known) by order, or a shared one"
        )
    if trained.kind == "stations" and scenario.downlink.sharing is not None:
        raise _misfit(f"{found}, with a policy for each station; allowed with downlink.sharing: a shared one")
    sizes = asdict(policy_shape(scenario, scenario.network.sbs.count))
    for size, what in _SIZES.items():
        if size in policy.any_size or (size == "stations" and not central):
            continue
        if sizes[size] != trained.sizes[size]:
            raise _misfit(f"{found}, trained for {trained.sizes[size]} {what}; allowed: one for {sizes[size]}")


def load_trained(
    network: nn.Module, build: Callable[[PolicyShape], nn.Module], shape: PolicyShape, scenario: Scenario, station: str
) -> None:
    """Let a network start from the trained policy of its scenario, if there is one.

    The head of the loss weights stays as it is where the trained policy has none.

    Args:
        network: the network, as `build` made it for `shape`.
        build: makes a network for a shape.
        shape: sizes of the network, in the roster that the scenario begins with.
        scenario: says which trained policy.
        station: whose network it is.

    Raises:
        ScenarioError: the file cannot be read, or the networks differ.
    """
    import torch

    given = scenario.downlink.policy.trained
    if given is None:
        return
    weights = read_trained(find_trained(given)).network_of(station, scenario.station_names)
    if weights is None:
        return
    own = network.state_dict()
    weighing, plain = replace(shape, loss_weights=1 + shape.users + shape.stations), replace(shape, loss_weights=0)
    free = set(build(weighing).state_dict()) - set(build(plain).state_dict())
    fits = set(own) - free == set(weights) - free
    taken = {name: torch.from_numpy(weights[name].copy()) for name in own if name in weights}
    if not fits or any(taken[name].shape != own[name].shape for name in taken):
        raise ScenarioError(
            f"downlink.policy.trained: '{on_one_line(given)}' holds another network than policy "
            f"'{scenario.downlink.policy.name}' with these options is"
        )
    network.load_state_dict({**own, **taken})


def _other_option(key: str, found: Any, trained: TrainedPolicy, given: str) -> MisfitError:
    allowed = on_one_line(repr(trained.policy[key]))
    return MisfitError(
        (key,), f"found {on_one_line(repr(found))}; allowed: {allowed}, as '{on_one_line(given)}' was trained"
    )


def _misfit(text: str) -> MisfitError:
    return MisfitError(("downlink", "policy", "trained"), text)


@lru_cache(maxsize=8)
def _read(path: Path, changed_ns: int, size: int) -> TrainedPolicy:
    return _SEAL.opened(path, _from_body)


def _from_body(body: dict[str, Any]) -> TrainedPolicy:
    """What `to_bytes` wrote; any of several exceptions where it did not write this."""
    networks = {
        str(name): {key: unpack_array(key, value)[0] for key, value in weights.items()}
        for name, weights in body["networks"].items()
    }
    rate = body["validation_sum_rate"]
    trained = TrainedPolicy(
        name=str(body["name"]),
        algorithm=str(body["algorithm"]),
        kind=body["kind"],
        policy={str(key): value for key, value in body["policy"].items()},
        sizes={size: int(body["sizes"][size]) for size in _SIZES},
        networks=networks,
        scenario=str(body["scenario"]),
        seed=int(body["seed"]),
        steps=int(body["steps"]),
        made_by=str(body["made_by"]),
        validation_sum_rate=None if rate is None else float(rate),
    )
    if trained.kind not in KINDS or not networks:
        raise ValueError("it holds no networks of a known kind")
    if not isinstance(trained.policy.get("name"), str) or not all(key.isidentifier() for key in trained.policy):
        raise ValueError("it holds no options of a policy")
    if "trained" in trained.policy:
        raise ValueError("its policy is itself one that starts from another")
    if rate is not None and not math.isfinite(rate):
        raise ValueError(f"its validation sum rate is {rate}")
    for weights in networks.values():
        for key, array in weights.items():
            if array.dtype.kind in "fc" and not np.isfinite(array).all():
                raise ValueError(f"{key} has numbers that are not finite")
    if trained.kind != "stations" and len(networks) != 1:
        raise ValueError(f"it holds {len(networks)} networks, one expected")
    if not all(networks.values()):
        raise ValueError("it holds a network without arrays")
    return trained
