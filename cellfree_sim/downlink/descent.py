"""How a policy descends: Adam, the learning rate of the scenario's schedule, and clipped gradients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import nn

    from cellfree_sim.scenario.schema import Scenario


class Descent:
    """The optimiser of a policy over the steps of a scenario; the schedule ends with the last of them."""

    def __init__(self, policy: nn.Module, scenario: Scenario) -> None:
        downlink = scenario.downlink
        self._policy = policy
        self._clip = downlink.gradient_clip
        self._steps = scenario.steps
        self._optimiser = torch.optim.Adam(policy.parameters(), lr=downlink.learning_rate)
        self._schedule = None
        if downlink.schedule == "one_cycle" and scenario.steps:
            self._schedule = torch.optim.lr_scheduler.OneCycleLR(
                self._optimiser, max_lr=downlink.learning_rate, total_steps=scenario.steps
            )

    def begin(self) -> None:
        """Forget the gradients of the step before."""
        self._optimiser.zero_grad(set_to_none=True)

    def descend(self, step: int) -> None:
        """Take step number `step`, counted from 1, along the gradients that the parameters hold."""
        if self._clip is not None:
            torch.nn.utils.clip_grad_norm_(self._policy.parameters(), self._clip)
        self._optimiser.step()
        if self._schedule and step < self._steps:
            self._schedule.step()

    def go_to(self, step: int) -> None:
        """Let the learning rate be what it is after `step` steps."""
        if self._schedule and 0 < step < self._steps:
            before = {"last_epoch": step - 1, "_step_count": step + 1}
            self._schedule.load_state_dict({**self._schedule.state_dict(), **before})
            self._schedule.step()

    def state(self) -> dict[str, Any]:
        """`optimiser` and `schedule`, as PyTorch has them."""
        schedule = self._schedule.state_dict() if self._schedule else None
        return {"optimiser": self._optimiser.state_dict(), "schedule": schedule}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """See `state`; other keys are passed over."""
        self._optimiser.load_state_dict(state["optimiser"])
        if self._schedule:
            self._schedule.load_state_dict(state["schedule"])
