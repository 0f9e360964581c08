"""The HTTP face without HTTP: bodies as numpy writes them, and a status for whatever else comes."""

from __future__ import annotations

import asyncio
import io
import json
import sys
import zipfile
from typing import Any

import numpy as np
import pytest
import torch

from agents.serve import MAX_BODY_BYTES, Face, TooLongError, read_body, read_request, serve_detector
from cellfree_sim.detection import create_detector
from cellfree_sim.errors import UserError
from cellfree_sim.uplink import MimoProblem
from cellfree_sim.uplink.families import described

PROBLEM = MimoProblem(n_rx=8, n_tx=4, constellation="qpsk")
LMMSE = create_detector("lmmse", PROBLEM)
SLOTS = PROBLEM.sample(5, 12.0, generator=torch.Generator().manual_seed(1))
ARRAYS = {"y": SLOTS.y.numpy(), "h": SLOTS.h.numpy(), "noise_variance": SLOTS.noise_variance.numpy()}


def written(**arrays: Any) -> bytes:
    body = io.BytesIO()
    np.savez(body, **arrays)
    return body.getvalue()


def answers(*bodies: bytes, method: str = "POST", **settings: Any) -> list[Any]:
    async def work() -> list[Any]:
        face = Face(LMMSE.options.model_dump(), described(PROBLEM), **settings)
        return list(await asyncio.gather(*(face.answer(method, body) for body in bodies)))

    return asyncio.run(work())


@pytest.mark.parametrize("noise", [ARRAYS["noise_variance"], float(ARRAYS["noise_variance"][0])])
def test_a_request_and_its_answer_are_files_of_numpy(noise: Any) -> None:
    [found] = answers(written(**{**ARRAYS, "noise_variance": noise}))
    assert (found.status, found.media_type) == (200, "application/octet-stream")
    expected = LMMSE(SLOTS.y, SLOTS.h, SLOTS.noise_variance).logits.numpy()
    np.testing.assert_array_equal(np.load(io.BytesIO(found.body)), expected)


def bomb() -> bytes:
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("y.npy", bytes(MAX_BODY_BYTES + 1))
    return body.getvalue()


def corrupt() -> bytes:
    """Deflated data that are none."""
    body = io.BytesIO()
    np.savez_compressed(body, **ARRAYS)
    changed = bytearray(body.getvalue())
    changed[60:120] = bytes([255]) * 60
    return bytes(changed)


def encrypted() -> bytes:
    """The flag is set in the directory at the end, and before each array."""
    changed = bytearray(written(**ARRAYS))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = changed.find(mark)
        while at >= 0:
            changed[at + offset] |= 1
            at = changed.find(mark, at + 1)
    return bytes(changed)


def endless() -> bytes:
    """An array that says to have more values than there is memory."""
    head, body = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<c8", "fortran_order": False, "shape": (10**17,)})
    with zipfile.ZipFile(body, "w") as archive:
        for key in ARRAYS:
            archive.writestr(f"{key}.npy", head.getvalue())
    return body.getvalue()


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        (b"", 400, "expected what numpy.savez wrote"),
        (b"PK\x03\x04 nonsense", 400, "expected what numpy.savez wrote"),
        (written(**ARRAYS)[:-30], 400, "expected what numpy.savez wrote"),
        (written(y=ARRAYS["y"]), 400, "found no array h, noise_variance"),
        (written(**{**ARRAYS, "y": np.array([object()])}), 400, "expected what numpy.savez wrote"),
        (written(**{**ARRAYS, "y": ARRAYS["y"][:2]}), 400, "found y [2, 8], h [5, 8, 4]"),
        (corrupt(), 400, "expected what numpy.savez wrote"),
        (encrypted(), 400, "expected what numpy.savez wrote"),
        (endless(), 400, "expected what numpy.savez wrote"),
        (written(**{**ARRAYS, "noise_variance": np.array("abc")}), 400, "noise_variance: found <U3; expected float32"),
        (written(**{**ARRAYS, "noise_variance": np.array(1j)}), 400, "noise_variance: found complex128; expected"),
        (bomb(), 413, "bytes when unpacked; allowed: at most"),
        (bytes(MAX_BODY_BYTES + 1), 413, "body: found 67108865 bytes"),
    ],
)
def test_what_is_wrong_with_a_request_is_told_in_one_line(body: bytes, status: int, told: str) -> None:
    [found] = answers(body)
    assert (found.status, found.media_type) == (status, "application/json")
    error = json.loads(found.body)["error"]
    assert told in error
    assert "\n" not in error


def test_a_body_that_does_not_end_is_read_until_it_is_too_long() -> None:
    part, read = bytes(2**22), []

    class Request:
        async def stream(self) -> Any:
            while True:
                read.append(part)
                yield part

    body = asyncio.run(read_body(Request()))
    assert len(body) == len(read) * len(part) == MAX_BODY_BYTES + len(part)
    with pytest.raises(TooLongError):
        read_request(body)


def test_too_many_at_a_time_are_told_to_come_again() -> None:
    found = answers(*[written(**ARRAYS)] * 5, capacity=3)
    assert sorted(each.status for each in found) == [200, 200, 200, 503, 503]


def test_other_methods() -> None:
    [numbers] = answers(b"", method="GET")
    assert json.loads(numbers.body)["detector"] == "lmmse"
    [refused] = answers(b"", method="DELETE")
    assert refused.status == 405


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray.serve", None)
    monkeypatch.delattr("ray.serve", raising=False)
    with pytest.raises(UserError, match=r"pip install 'cellfree-sim\[serve\]'"):
        serve_detector("lmmse", PROBLEM)
