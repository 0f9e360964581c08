"""Linear layers in bfloat16, or with weights and inputs in 8 bits, for detection only."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from cellfree_sim.errors import DetectorError

Precision = Literal["float32", "bfloat16", "int8"]
LANES = 32
"""Numbers that a processor's matrix instructions take at a time."""
WORTH_WHOLE = 1024
"""Outputs for which it pays to round the inputs to 8 bits where products in bfloat16 are quick, too."""


def padded(size: int) -> int:
    """The next multiple of `LANES`.

    >>> padded(33)
    64
    """
    return LANES * -(-size // LANES)


def packed_layer(
    layer: nn.Linear, precision: Precision, *, relu: bool = False, columns: int | None = None, rows: int | None = None
) -> Bfloat16Linear | Int8Linear:
    """`layer` for float32 or bfloat16 inputs, followed by a ReLU where `relu`; its outputs are in bfloat16.

    With precision int8 the weights are rounded to 8 bits. So are the inputs, but for a layer of few outputs on a CPU
    with matrix instructions (AMX): these make products in bfloat16 in less time than it takes to round the inputs.

    Args:
        layer: a linear layer, whose weights are copied.
        precision: bfloat16 or int8.
        relu: whether negative outputs are 0.
        columns: of the inputs, if there are more than the layer knows: the rest has no weight.
        rows: outputs, if there are to be more than the layer has: the rest is 0.
    """
    more = 0 if rows is None else rows - layer.out_features
    right = 0 if columns is None else columns - layer.in_features
    weight = functional.pad(layer.weight.detach().float(), (0, right, 0, more))
    bias = None if layer.bias is None else functional.pad(layer.bias.detach().float(), (0, more))
    if precision != "int8":
        return Bfloat16Linear(weight, bias, relu=relu)
    if len(weight) >= WORTH_WHOLE or not _cpu_has("amx_tile"):
        return Int8Linear(weight, bias, relu=relu)
    scale = scales(weight).unsqueeze(-1)
    return Bfloat16Linear((weight / scale).round() * scale, bias, relu=relu)


def scales(weight: Tensor) -> Tensor:
    """Units [K] in which the weights [K, I] of each output are whole numbers from -127 to 127."""
    return weight.abs().amax(dim=1).clamp_min(torch.finfo(torch.float32).tiny) / 127


class Bfloat16Linear(nn.Module):
    """A linear layer with inputs, weights, products and outputs in bfloat16.

    On a CPU whose instructions oneDNN knows the weights are laid out once as it wants them, and the ReLU is part of
    the product.
    """

    takes = torch.bfloat16
    weight: Tensor
    bias: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None, *, relu: bool = False) -> None:
        super().__init__()
        self.register_buffer("weight", weight.bfloat16())
        self.register_buffer("bias", None if bias is None else bias.bfloat16())
        self._relu = relu
        self._packed: Tensor | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Bfloat16Linear:
        return Bfloat16Linear(self.weight.clone(), None if self.bias is None else self.bias.clone(), relu=self._relu)

    def forward(self, value: Tensor) -> Tensor:
        """Outputs [..., K] of inputs [..., I]."""
        value = value.bfloat16()
        if value.device.type == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported():
            if self._packed is None:
                self._packed = torch.ops.mkldnn._reorder_linear_weight(self.weight, None)
            kind = "relu" if self._relu else "none"
            result: Tensor = torch.ops.mkldnn._linear_pointwise(value, self._packed, self.bias, kind, [], "")
            return result
        result = functional.linear(value, self.weight, self.bias)
        return result.relu_() if self._relu else result


class Int8Linear(nn.Module):
    """A linear layer with weights in 8 bits, one scale for each output, and inputs in 8 bits, one scale for each call.

    So what a slot's inputs are rounded to depends on the slots that are detected with it, and its scores do a little.
    On the CPU, by torch's own kernels. Where there are VNNI instructions these are oneDNN's, with outputs in bfloat16;
    those without them add two products in 16 bits: there the inputs get 7 bits, so that no sum overflows.
    """

    takes = torch.float32

    def __init__(self, weight: Tensor, bias: Tensor | None, *, relu: bool = False) -> None:
        super().__init__()
        if weight.device.type != "cpu":
            raise DetectorError(f"precision: found int8 on {weight.device}; allowed: float32, bfloat16, or the CPU")
        self._relu, self._bias = relu, bias
        self._scale = scales(weight)
        self._zero = torch.zeros(len(weight), dtype=torch.long)
        self._quick = _cpu_has("vnni")
        if self._quick:
            whole = (weight / self._scale.unsqueeze(-1)).round().to(torch.int8)
            self._packed = torch.ops.onednn.qlinear_prepack(whole, None)
        else:
            self._packed = _packed(weight, bias, self._scale.double(), self._zero)

    def __deepcopy__(self, memo: dict[int, Any]) -> Int8Linear:
        return self  # nothing in it ever changes, and torch cannot copy packed weights

    def forward(self, value: Tensor) -> Tensor:
        """Outputs [..., K] of inputs [..., I]."""
        if value.device.type != "cpu":
            raise DetectorError(f"precision: found int8 on {value.device}; allowed: float32, bfloat16, or the CPU")
        value = value.float()
        if not self._quick:
            slow: Tensor = torch.ops.quantized.linear_dynamic(value, self._packed, True)
            return (slow.relu_() if self._relu else slow).bfloat16()
        low, high = (bound.item() for bound in torch.aminmax(value))
        step = max(max(high, 0.0) - min(low, 0.0), 1e-12) / 255
        zero = round(-min(low, 0.0) / step)
        with warnings.catch_warnings():  # torch means to replace these tensors one day, and has no quicker way
            warnings.filterwarnings("ignore", "torch.quantize_per_tensor", UserWarning)
            whole = torch.quantize_per_tensor(value, step, zero, torch.quint8)
        stored = torch.empty(0, dtype=torch.uint8).set_(whole.untyped_storage(), 0, whole.shape, whole.stride())
        result: Tensor = torch.ops.onednn.qlinear_pointwise(
            stored,
            step,
            zero,
            self._packed,
            self._scale,
            self._zero,
            self._bias,
            1.0,
            0,
            torch.bfloat16,
            "relu" if self._relu else "none",
            [],
            "",
        )
        return result


def _cpu_has(instructions: str) -> bool:
    """What torch says of this CPU; False where it does not say."""
    supported = getattr(torch.cpu, f"_is_{instructions}_supported", None)
    return supported is not None and bool(supported())


def _packed(weight: Tensor, bias: Tensor | None, scale: Tensor, zero: Tensor) -> Any:
    """Weights as the fastest kernel wants them; the choice of the kernel is global in torch, and is put back."""
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = "onednn" if "onednn" in torch.backends.quantized.supported_engines else before
    try:
        with warnings.catch_warnings():  # torch means to replace these tensors one day, and has no other such kernels
            warnings.filterwarnings("ignore", "torch.quantize_per_tensor", UserWarning)
            quantised = torch.quantize_per_channel(weight, scale, zero, 0, torch.qint8)
            return torch.ops.quantized.linear_prepack(quantised, bias)
    finally:
        torch.backends.quantized.engine = before
