"""What a key of a scenario is called along an axis: from the schema's description, with the unit that its name has."""

from __future__ import annotations

import re

UNITS = {  # by the ending of a key, longest first
    "bps_hz": "bit/s/Hz",
    "flop_per_s": "FLOP/s",
    "bps": "bit/s",
    "bytes": "bytes",
    "wavelengths": "wavelengths",
    "dbm": "dBm",
    "deg": "degrees",
    "db": "dB",
    "hz": "Hz",
    "km": "km",
    "m": "m",
    "s": "s",
}
LONGEST = 52  # characters of a description that still fits an axis
_GOES_ON = re.compile(r"(of|that|at|in|from|to|between)\b")
_NO_NAME = re.compile(r"(how|which|what|who|where|when|over|across|all of)\b")
_ACRONYMS = {"snr": "SNR", "csi": "CSI", "sbs": "stations", "mbs": "MBS", "gpus": "GPUs", "cpus": "CPUs"}
_PLAIN = re.compile(r"[A-Za-z0-9 _'/-]+(\^2[A-Za-z0-9 _'/-]*)?")
_SYMBOL = re.compile(r"\b([A-Za-z])_(\w+)\b")


def axis_label(key: str) -> str:
    """A dotted key as the label of an axis.

    >>> axis_label("network.sbs.count"), axis_label("network.users.height_m")
    ('Number B of stations', 'Height of their antennas above the ground (m)')
    >>> axis_label("network.sbs.power_dbm"), axis_label("radio.carrier_frequency_hz")
    ('Largest transmit power $P_{\\\\mathrm{max}}$ of each station (dBm)', 'Carrier frequency (Hz)')
    """
    words, unit = _words_and_unit(key)
    told = re.split(r"[;:,(]", description(key))[0].strip()
    for ending in (f"in {unit}", unit):
        told = told.removesuffix(f" {ending}") if unit else told
    fits = _PLAIN.fullmatch(told) and len(told) <= LONGEST and not told[0].isupper() and not _NO_NAME.match(told)
    text = words if not fits else f"{words} {told}" if _GOES_ON.match(told) else told
    text = _SYMBOL.sub(r"$\1_{\\mathrm{\2}}$", text).replace("sigma^2", r"$\sigma^2$")
    return text[:1].upper() + text[1:] + (f" ({unit})" if unit else "")


def description(key: str) -> str:
    """What the schema says of a dotted key; empty where it says nothing.

    >>> description("network.users.count")
    'number I of users'
    """
    from cellfree_sim.scenario.describe import shape_at

    *above, last = re.findall(r"[^.\[\]]+", key) or [""]
    shape = shape_at(tuple(above))
    for schema in shape.alternatives if shape else ():
        found = schema.get("properties", {}).get(last, {}).get("description")
        if found:
            return str(found)
    return ""


def _words_and_unit(key: str) -> tuple[str, str]:
    """A key in words, and its unit; empty where its name has none."""
    parts = key.split(".")
    last = parts[-2] if parts[-1] == "count" and len(parts) > 1 else parts[-1]
    for ending, unit in UNITS.items():
        if last.endswith(f"_{ending}"):
            return _in_words(last.removesuffix(f"_{ending}")), unit
    return _in_words(last), ""


def _in_words(name: str) -> str:
    return " ".join(_ACRONYMS.get(word, word) for word in name.split("_"))
