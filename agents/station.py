"""What every station's process does first."""

from __future__ import annotations

import json

from cellfree_sim.devices import choose_device
from cellfree_sim.downlink.roles import Context
from cellfree_sim.memory import keep_freed_memory
from cellfree_sim.network import Network
from cellfree_sim.scenario import received_scenario


def make_context(scenario_json: str, network_json: str, gpus: float) -> Context:
    """Scenario, network and device of a station's process; one torch thread, so that sums have one order everywhere.

    The device is what torch really has: Ray hands out GPU numbers on machines without any.
    """
    import torch

    torch.set_num_threads(1)
    keep_freed_memory()
    scenario = received_scenario(scenario_json)
    return Context(scenario, read_network(network_json), choose_device("auto" if gpus > 0 else 0))


def write_network(network: Network) -> str:
    """A network on its way to another process."""
    return json.dumps(network.to_json())


def read_network(network_json: str) -> Network:
    """What `write_network` wrote."""
    return Network.from_json(json.loads(network_json))


def gpu_ids() -> list[str]:
    """Ids of the GPUs that Ray gave to this process."""
    import ray

    return [str(each) for each in ray.get_gpu_ids()]
