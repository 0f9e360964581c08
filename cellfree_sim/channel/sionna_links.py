"""Channels of one station through Sionna's TR 38.901 system-level models, reproducible and isolated.

Sionna keeps one random generator per process and device. Here it is seeded for each chunk of drops from the request's
own seed and put back afterwards, and a chunk builds its own Sionna object, so that the result depends on nothing that
happened before in the process. Everything runs on the CPU in single precision: a run gives the same channels with and
without GPUs.
"""

from __future__ import annotations

import importlib
import math
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cellfree_sim.channel.base import ChannelRequest, Channels, Progress
    from cellfree_sim.channel.models.tr38901 import Tr38901

_ON_CPU = {"device": "cpu", "precision": "single"}
_LARGEST_CHUNK = 25
_COEFFICIENTS_PER_CHUNK = 2048
"""Antenna pairs times users times drops of a chunk; each takes some 30 kB while its 400 rays are made."""


def generate(model: Tr38901, request: ChannelRequest, progress: Progress | None = None) -> Channels:
    """Channels [R, N, T, I, r] of `request` under `model` (see `cellfree_sim.channel.models.tr38901`)."""
    total, _, tx, users, rx = request.shape
    step = min(_LARGEST_CHUNK, max(1, _COEFFICIENTS_PER_CHUNK // (users * tx * rx)))
    channels = np.empty(request.shape, dtype=np.complex64)
    for start in range(0, total, step):
        chunk = slice(start, min(start + step, total))
        seed = np.random.SeedSequence(request.seed, spawn_key=(start,)).generate_state(1, np.uint64)[0]
        with _seeded(int(seed)), torch.no_grad():
            channels[chunk] = _chunk(model, request, chunk)
        if progress is not None:
            progress(chunk.stop, total)
    return channels


def _chunk(model: Tr38901, request: ChannelRequest, chunk: slice) -> Channels:
    """Channels of the drops of one chunk, from a Sionna object of its own."""
    radio = request.radio
    link = getattr(_sionna("channel.tr38901"), model.sionna_class)(
        carrier_frequency=radio.carrier_frequency_hz,
        ut_array=_array(request, rows=1, columns=request.user_antennas, spacing=0.5, pattern="omni"),
        bs_array=_station_array(request),
        direction="downlink",
        enable_shadow_fading=model.shadow_fading,
        spec_version=model.specification,
        **model.sionna_arguments(),
        **_ON_CPU,
    )
    link.set_topology(**_topology(model, request, chunk))
    amplitudes, delays = link(num_time_samples=1, sampling_frequency=radio.bandwidth_hz)
    frequencies = torch.as_tensor(request.subcarrier_offsets_hz(), dtype=torch.float32)
    response = _sionna("channel").cir_to_ofdm_channel(frequencies, amplitudes, delays)
    # [R, I, r, 1, T, 1, N] -> [R, N, T, I, r]; Sionna's y = h x becomes y = H^H x.
    made: Channels = response[:, :, :, 0, :, 0, :].permute(0, 4, 3, 1, 2).conj().resolve_conj().numpy()
    return made


def _station_array(request: ChannelRequest) -> Any:
    antennas = request.antennas
    return _array(request, antennas.rows, antennas.columns, antennas.spacing_wavelengths, antennas.element)


def _array(request: ChannelRequest, rows: int, columns: int, spacing: float, pattern: str) -> Any:
    """A vertically polarised planar array in the y-z plane; element k stands in row k % rows from the top."""
    return _sionna("channel.tr38901").PanelArray(
        num_rows_per_panel=rows,
        num_cols_per_panel=columns,
        polarization="single",
        polarization_type="V",
        antenna_pattern=pattern,
        carrier_frequency=request.radio.carrier_frequency_hz,
        element_vertical_spacing=spacing,
        element_horizontal_spacing=spacing,
        **_ON_CPU,
    )


def _topology(model: Tr38901, request: ChannelRequest, chunk: slice) -> dict[str, Any]:
    """Arguments of `set_topology`: one station, users as given, nothing moves."""
    users = torch.as_tensor(request.users.positions_m[chunk], dtype=torch.float32)
    drops, count, _ = users.shape
    station = torch.tensor(request.site_m, dtype=torch.float32).expand(drops, 1, 3).clone()
    tilt = [math.radians(request.antennas.azimuth_deg), math.radians(request.antennas.downtilt_deg), 0.0]
    indoor = np.ones((drops, count), dtype=np.bool_) if model.all_indoor else request.users.indoor[chunk]
    topology = {
        "ut_loc": users,
        "bs_loc": station,
        "ut_orientations": torch.zeros(drops, count, 3),
        "bs_orientations": torch.tensor(tilt).expand(drops, 1, 3).clone(),
        "ut_velocities": torch.zeros(drops, count, 3),
        "in_state": torch.as_tensor(indoor),
        "los": model.los,
    }
    depth = model.shared_indoor_depth_m(request.radio.carrier_frequency_hz)
    if depth is not None:
        topology["distance_2d_in"] = torch.as_tensor(request.users.indoor_depth[chunk] * depth, dtype=torch.float32)
    return topology | model.topology_arguments(indoor)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Sionna's CPU generator seeded with `seed`, and put back as it was."""
    generator: torch.Generator = _sionna("config").config.torch_rng("cpu")
    before = generator.get_state()
    generator.manual_seed(seed)
    try:
        yield
    finally:
        generator.set_state(before)


def _sionna(module: str) -> Any:
    """A module of ``sionna.phy``. Its first import seeds torch's global generators at random; they are put back."""
    name = f"sionna.phy.{module}"
    if name not in sys.modules:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            importlib.import_module(name)
    return sys.modules[name]
