"""Networks of linear layers in bfloat16, or with weights and activations in 8 bits, for detection only."""

from __future__ import annotations

import copy
import warnings
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from cellfree_sim.errors import DetectorError

Precision = Literal["float32", "bfloat16", "int8"]


def in_precision(network: nn.Module, precision: Precision) -> nn.Module:
    """A copy of `network` whose linear layers compute in `precision`; float32 is the network itself.

    Everything between the linear layers stays as it is, so that a network which needs float32 there keeps it.
    """
    if precision == "float32":
        return network
    changed = copy.deepcopy(network)
    for parent in list(changed.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.Linear):
                setattr(parent, name, Bfloat16Linear(child) if precision == "bfloat16" else Int8Linear(child))
    return changed


class Bfloat16Linear(nn.Module):
    """A linear layer with inputs, weights and products in bfloat16, and outputs in the precision of the inputs."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.register_buffer("weight", layer.weight.detach().bfloat16())
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach().bfloat16())

    def forward(self, value: Tensor) -> Tensor:
        """Outputs [..., K] of inputs [..., I]."""
        return functional.linear(value.bfloat16(), self.weight, self.bias).to(value.dtype)


class Int8Linear(nn.Module):
    """A linear layer with weights in 8 bits, one scale for each output, and inputs in 8 bits, one scale for each call.

    So what a slot's inputs are rounded to depends on the slots that are detected with it, and its scores do a little.
    On the CPU, by torch's own kernels. Those without the VNNI instructions add two products in 16 bits: there the
    inputs get 7 bits, so that no sum overflows.
    """

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        weight = layer.weight.detach().float()
        if weight.device.type != "cpu":
            raise DetectorError(f"precision: found int8 on {weight.device}; allowed: float32, bfloat16, or the CPU")
        self.narrow = not _has_vnni()
        bias = None if layer.bias is None else layer.bias.detach().float()
        self.packed = _packed(weight, bias)

    def __deepcopy__(self, memo: dict[int, Any]) -> Int8Linear:
        return self  # nothing in it ever changes, and torch cannot copy packed weights

    def forward(self, value: Tensor) -> Tensor:
        """Outputs [..., K] of inputs [..., I]."""
        if value.device.type != "cpu":
            raise DetectorError(f"precision: found int8 on {value.device}; allowed: float32, bfloat16, or the CPU")
        result: Tensor = torch.ops.quantized.linear_dynamic(value.float(), self.packed, self.narrow)
        return result.to(value.dtype)


def _has_vnni() -> bool:
    """What torch says of this CPU; False where it does not say."""
    supported = getattr(torch.cpu, "_is_vnni_supported", None)
    return supported is not None and bool(supported())


def _packed(weight: Tensor, bias: Tensor | None) -> Any:
    """Weights as the fastest kernel wants them; the choice of the kernel is global in torch, and is put back."""
    scale = weight.abs().amax(dim=1).clamp_min(torch.finfo(torch.float32).tiny) / 127
    zero = torch.zeros(len(weight), dtype=torch.long)
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = "onednn" if "onednn" in torch.backends.quantized.supported_engines else before
    try:
        with warnings.catch_warnings():  # torch means to replace these tensors one day, and has no other such kernels
            warnings.filterwarnings("ignore", "torch.quantize_per_tensor", UserWarning)
            quantised = torch.quantize_per_channel(weight, scale.double(), zero, 0, torch.qint8)
            return torch.ops.quantized.linear_prepack(quantised, bias)
    finally:
        torch.backends.quantized.engine = before
