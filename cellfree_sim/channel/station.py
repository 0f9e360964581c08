"""The channels of one station: the request made from a scenario, answered by the model or by the cache."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from cellfree_sim import seeds
from cellfree_sim.channel import cache
from cellfree_sim.channel.base import ChannelModel, ChannelRequest, Channels, Progress
from cellfree_sim.errors import ChannelError
from cellfree_sim.network.users import SPLITS, Drops, draw_users

if TYPE_CHECKING:
    from pathlib import Path

    from cellfree_sim.network.graph import Network
    from cellfree_sim.scenario.schema import Radio, Scenario

_log = logging.getLogger(__name__)


def check_channels(scenario: Scenario) -> None:
    """Raise `ChannelError` where the channel model cannot serve the scenario, before anything is generated.

    Azimuths that a model without directions ignores are told in the log.
    """
    model: ChannelModel = scenario.channel.model
    model.check(scenario)
    if model.directional:
        return
    sbs = scenario.network.sbs
    given = {
        "network.sbs.azimuths_deg": sbs.azimuths_deg is not None,
        "network.sbs.antennas.azimuth_deg": sbs.antennas.azimuth_deg != 0,
        "azimuth_deg of an injection": any(e.inject_sbs and e.inject_sbs.azimuth_deg for e in scenario.events),
    }
    for key in (key for key, is_given in given.items() if is_given):
        _log.warning("%s has no effect: in channel.model '%s' no station looks anywhere", key, model.name)


def outside_notes(scenario: Scenario, folder: Path) -> list[str]:
    """A line for each file that the channel model reads and that lies outside the scenario's `folder`."""
    home = folder.resolve()
    outside = [path for path in scenario.channel.model.files() if not path.is_relative_to(home)]
    return [f"channel.model.path: {path} is outside the scenario's folder {home}" for path in outside]


def channel_request(scenario: Scenario, network: Network, station: str, split: Drops) -> ChannelRequest:
    """What `station` asks of the channel model for `split`; its seed is ``("channel", station, split)`` of the run.

    In the uplink's drops users have one antenna, and there is one subcarrier, but where it is selective; a recorded
    data set has them after the realisations of all splits.
    """
    sizes = scenario.channel.realisations
    earlier = SPLITS if split == "uplink" else SPLITS[: SPLITS.index(split)]
    count, antennas, radio = _extent(scenario, split)
    return ChannelRequest(
        station=station,
        station_index=network.sites.index(station),
        stations=len(network.sites),
        site_m=network.position(station),
        antennas=scenario.network.sbs.antennas.model_copy(update={"azimuth_deg": network.azimuth_deg(station)}),
        user_antennas=antennas,
        radio=radio,
        users=draw_users(scenario, split, count),
        split=split,
        first_realisation=sum(getattr(sizes, other) for other in earlier),
        seed=seeds.integer(scenario.seed, "channel", station, split),
    )


def _extent(scenario: Scenario, split: Drops) -> tuple[int, int, Radio]:
    """Number of drops, antennas of a user, and the radio."""
    if split != "uplink":
        return getattr(scenario.channel.realisations, split), scenario.network.users.antennas, scenario.radio
    assert scenario.uplink is not None  # else nobody asks
    radio = scenario.radio if scenario.uplink.selective else scenario.radio.model_copy(update={"subcarriers": 1})
    return scenario.uplink.realisations, 1, radio


def station_channels(
    scenario: Scenario, network: Network, station: str, split: Drops, progress: Progress | None = None
) -> Channels:
    """Channels between `station` and all users in the realisations of `split`, complex64 [R, N, T, I, r].

    Not scaled: |H|^2 is the path gain. They depend on the scenario's seed, the station's name and place and the user
    drops, on no other station, and are the same in any process. Realisations that were made before come from the cache
    (`cellfree_sim.channel.cache`). Raises `ChannelError` where they cannot be made.
    """
    model: ChannelModel = scenario.channel.model
    request = channel_request(scenario, network, station, split)
    key = cache.key_of(model, request) if scenario.channel.cache and model.cacheable else None
    found = cache.load(key, request.shape) if key else None
    if found is not None:
        if progress is not None:
            progress(len(found), len(found))
        return found
    channels = np.ascontiguousarray(model.generate(request, progress))
    _check_channels_of(channels, request, model.name)
    if key:
        cache.store(key, channels)
    return channels


def _check_channels_of(channels: Channels, request: ChannelRequest, model: str) -> None:
    if channels.shape != request.shape or channels.dtype != np.complex64:
        found = f"made {channels.dtype} {[*channels.shape]}; asked for complex64 {[*request.shape]}"
        raise ChannelError(f"channel.model '{model}': {found}")
    finite = np.isfinite(channels).reshape(len(channels), -1).all(axis=1)
    if not finite.all():
        drop = int(np.argmin(finite))
        raise ChannelError(
            f"channel.model '{model}': the channel of station '{request.station}' in {request.split} realisation "
            f"{drop} is not finite; does a user stand where the antenna is?"
        )
