from __future__ import annotations

import dataclasses
import typing
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from cellfree_sim.backhaul.messages import CATALOGUE, Header, Message

if TYPE_CHECKING:
    from collections.abc import Callable

SIZES = {"S": 3, "N": 2, "T": 4, "I": 5, "R": 2, "K": 9, "L": 7, "O": 2, "B": 3, "D": 6, "M": 4, "F": 1}
SCALARS: dict[Any, Any] = {int: 5, float: 0.25, bool: True, str: "maintenance", tuple: ("sbs-0", "sbs-1")}


def random_array(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray[Any, Any]:
    if dtype.startswith("complex"):
        return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(dtype)
    if dtype.startswith("float"):
        return rng.standard_normal(shape).astype(dtype)
    return rng.integers(0, 2, shape).astype(dtype)


def build_sample(kind: str) -> Message:
    """A message of any kind, made from what the catalogue declares."""
    rng = np.random.default_rng(len(kind))
    message_type = CATALOGUE[kind]
    hints = typing.get_type_hints(message_type)
    values: dict[str, Any] = {}
    for field in dataclasses.fields(message_type):
        origin = typing.get_origin(hints[field.name]) or hints[field.name]
        if field.name in message_type.ARRAYS:
            letters, dtype = message_type.ARRAYS[field.name]
            values[field.name] = random_array(rng, tuple(SIZES[letter] for letter in letters), dtype)
        elif origin is dict:
            dtypes = ("float32", "complex64", "int64", "bool", "float64", "uint8")
            shapes = ((4, 7), (3,), (), (5, 1), (0, 3), (2, 2, 2))
            values[field.name] = {
                f"layer.{dtype}": random_array(rng, shape, dtype) for dtype, shape in zip(dtypes, shapes, strict=True)
            }
        else:
            values[field.name] = SCALARS[origin]
    return message_type(**values)


def message_arrays(message: Message) -> dict[str, np.ndarray[Any, Any]]:
    """All arrays of a message by name."""
    found: dict[str, np.ndarray[Any, Any]] = {}
    for field in dataclasses.fields(message):
        value = getattr(message, field.name)
        if isinstance(value, np.ndarray):
            found[field.name] = value
        elif isinstance(value, dict):
            found |= {f"{field.name}.{name}": array for name, array in value.items()}
    return found


@pytest.fixture
def sample() -> Callable[[str], Message]:
    return build_sample


@pytest.fixture
def arrays_of() -> Callable[[Message], dict[str, np.ndarray[Any, Any]]]:
    return message_arrays


@pytest.fixture
def header() -> Header:
    return Header("demo", "training", 300, 70_000, "sbs-0", "mbs", ("sbs-0", "sbs-1", "mbs"), 0.1 + 0.2, 1)
