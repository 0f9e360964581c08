"""One Ray cluster for all tests that need one; each run on it has a namespace of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="session")
def cluster() -> Iterator[Any]:
    """A local cluster with four logical GPUs that torch does not have."""
    os.environ["RAY_AUTH_MODE"] = "disabled"
    import ray

    yield ray.init(
        address="local",
        num_cpus=4,
        num_gpus=4,
        include_dashboard=False,
        object_store_memory=100 * 2**20,
        log_to_driver=False,
        logging_level="ERROR",
        namespace="tests",
    )
    ray.shutdown()
