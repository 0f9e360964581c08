"""Everything a person can get wrong in a scenario, an override or a command line is refused with one clear line.

Each case: exit status 2, nothing on stdout, one line on stderr that names the place, the key, what was found and what
is allowed (`says`, in this order), no traceback, and no file or folder left behind.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from cellfree_sim.cli import main

GOOD = """\
# A small scenario that is right.
name: good
engine: inline
network:
  mbs: {position_m: [50, 50]}
  sbs: {count: 2}
  users: {count: 4}
channel: {model: rayleigh, realisations: {train: 20, validation: 5, test: 5}}
downlink: {epochs: 1, batch: 10, references: [gsa-zf]}
"""


@dataclass(frozen=True)
class Case:
    """One way to be wrong: a broken file (`text` or `raw`), overrides of a good one, or a whole command line."""

    id: str
    says: tuple[str, ...]
    text: str = GOOD
    raw: bytes | None = None
    options: tuple[str, ...] = ()
    command: tuple[str, ...] | None = None
    files: dict[str, bytes] = field(default_factory=dict)


def broken(id: str, text: str, *says: str) -> Case:
    return Case(id, says, text=text)


def override(id: str, assignment: str, *says: str) -> Case:
    return Case(id, (f"--set {assignment}"[:60], *says), options=("--set", assignment))


def command(id: str, argv: str, *says: str) -> Case:
    return Case(id, says, command=tuple(shlex.split(argv)))


FILES = [
    broken("empty file", "", "s.yaml:1:1: scenario: the file is empty", "allowed: a mapping with keys of name, seed"),
    broken("only comments", "# nothing\n# here\n", "s.yaml:1:1: scenario: the file is empty"),
    broken("a list", "- name: a\n", "s.yaml:1:1: scenario: found a list of 1", "allowed: a mapping"),
    broken("bare text", "quickstart\n", "s.yaml:1:1: scenario: found 'quickstart'", "allowed: a mapping"),
    broken("a number", "3\n", "s.yaml:1:1: scenario: found 3", "allowed: a mapping"),
    broken("tab", "network:\n\tsbs: {count: 3}\n", "s.yaml:2:1: not valid YAML: a tab", "allowed: spaces"),
    broken("open bracket", "network: {area_m: [100, 100}\n", "s.yaml:1:28: not valid YAML: expected ',' or ']'"),
    broken("open quote", "name: 'a\n", "s.yaml:2:1: not valid YAML", "end of stream"),
    broken("two colons", "name: a: b\n", "s.yaml:1:8: not valid YAML", "mapping values are not allowed"),
    broken("wrong indent", "network:\n  sbs:\n    count: 3\n   users: {}\n", "s.yaml:4:", "not valid YAML"),
    broken("duplicate key", "seed: 1\nname: a\nseed: 2\n", "s.yaml:3:1: key 'seed' is given twice, first at 1:1"),
    broken("nested duplicate", "radio: {subcarriers: 4, subcarriers: 8}\n", "s.yaml:1:25: key 'subcarriers'", "at 1:9"),
    broken("two documents", "name: a\n---\nname: b\n", "s.yaml:2:1: a second document begins"),
    broken("python tag", "name: !!python/object/apply:os.system [ls]\n", "s.yaml:1:7: tag ", "has no tags"),
    broken("merge key", "a: &a {seed: 1}\n<<: *a\n", "s.yaml:2:1: merge key '<<' is not YAML 1.2"),
    broken("key is a number", "1: 2\n", "s.yaml:1:1: key 1; allowed: keys are text"),
    broken("unknown alias", "name: *other\n", "s.yaml:1:7: alias *other has no anchor"),
    broken("alias of itself", "name: &a [*a]\n", "s.yaml:1:11: alias *a has no anchor before it"),
    broken(
        "billion laughs",
        "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10)),
        "s.yaml:6:20: more than 50000 values",
    ),
    broken("nested too deep", "name: " + "[" * 200 + "]" * 200 + "\n", "s.yaml:1:39: nested more than 32 levels"),
    broken("huge number", f"seed: {'9' * 5000}\n", "s.yaml:1:7: a number of 5000 digits"),
    broken("too long", "# " + "x" * 2**20 + "\n", "s.yaml: is longer than 1048576 bytes"),
    Case("binary", ("s.yaml:1:1: not a text file (byte 0x89); allowed: UTF-8",), raw=b"\x89PNG\r\n\x1a\n\x00\x00"),
    Case("latin-1", ("s.yaml:2:9: not a text file (byte 0xe9)",), raw="name: a\n# scenar\xe9\n".encode("latin-1")),
    Case("null byte", ("s.yaml:2:6: not a text file (character 0x0000)",), raw=b"name: a\nseed:\x001\n"),
]

KEYS = [
    broken(
        "unknown section", "networks: {}\n", "s.yaml:1:1: networks: unknown key; allowed: name, ", "mean 'network'?"
    ),
    broken("empty key", "'': 3\n", "s.yaml:1:1: '': unknown key; allowed: name, seed"),
    broken("unknown key", "downlink:\n  epohcs: 3\n", "s.yaml:2:3: downlink.epohcs: unknown key", "mean 'epochs'?"),
    broken(
        "deep unknown key", "network: {sbs: {antennas: {row: 2}}}\n", ":1:28: network.sbs.antennas.row: ", "'rows'?"
    ),
    broken("key of another section", "epochs: 3\n", "s.yaml:1:1: epochs: unknown key", "mean 'downlink.epochs'?"),
    broken(
        "section with a typo", "uplinks: {bursts: 3}\n", "s.yaml:1:1: uplinks: unknown key", "did you mean 'uplink'?"
    ),
    broken(
        "option of another model",
        "channel: {model: {name: rayleigh, specification: '19'}}\n",
        "s.yaml:1:35: channel.model.specification: unknown key; allowed: name, path_loss_exponent",
    ),
    broken(
        "misspelt option",
        "channel: {model: {name: rayleigh, shadowing: 3}}\n",
        "s.yaml:1:35: channel.model.shadowing: unknown key",
        "did you mean 'shadowing_db'?",
    ),
    broken(
        "option without name", "downlink: {policy: {width: 3}}\n", ":1:20: downlink.policy.name: is missing; allowed: "
    ),
    broken("missing option", "channel: {model: trace}\n", "s.yaml:1:18: channel.model.path: is missing; allowed: "),
    broken(
        "two schemes of one name",
        "link: {family: noma, schemes: [{detector: {name: kbest, survivors: 4}}, {detector: kbest}]}\n",
        "s.yaml:1:73: link.schemes[1]: found a second scheme 'wbe + kbest'; allowed: names that differ",
    ),
    broken("section is nothing", "network:\nseed: 1\n", "s.yaml:1:1: network: found nothing; allowed: a mapping"),
    broken("no space", "network:\n  sbs:\n    count:3\n", ":3:5: network.sbs: found 'count:3' (a space is missing"),
]

VALUES = [
    broken(
        "text for a number", "radio: {subcarriers: four}\n", ":1:22: radio.subcarriers: found 'four'; allowed: a whole"
    ),
    broken("quoted number", "network: {sbs: {count: '3'}}\n", ":1:24: network.sbs.count: found '3'; allowed: a whole"),
    broken("fraction of a station", "network: {sbs: {count: 2.5}}\n", ":1:24: network.sbs.count: found 2.5; allowed: "),
    broken(
        "float for a count", "downlink: {epochs: 1e2}\n", "s.yaml:1:20: downlink.epochs: found 1e2; allowed: a whole"
    ),
    broken(
        "true for a count", "downlink: {epochs: true}\n", "s.yaml:1:20: downlink.epochs: found true; allowed: a whole"
    ),
    broken(
        "yes for true", "channel: {cache: yes}\n", "s.yaml:1:18: channel.cache: found 'yes'; allowed: true or false"
    ),
    broken(
        "1 for true", "backhaul: {cache_channels: 1}\n", ":1:28: backhaul.cache_channels: found 1; allowed: true or"
    ),
    broken("no stations", "network: {sbs: {count: 0}}\n", "s.yaml:1:24: network.sbs.count: found 0; allowed: a whole"),
    broken(
        "negative users", "network: {users: {count: -4}}\n", "network.users.count: found -4; allowed: ", "from 1 to"
    ),
    broken(
        "too many stations", "network: {sbs: {count: 100000}}\n", "network.sbs.count: found 100000", "from 1 to 1000"
    ),
    broken(
        "NaN", "radio: {noise_dbm: .nan}\n", "s.yaml:1:20: radio.noise_dbm: found .nan; allowed: a number from -250"
    ),
    broken("infinity", "backhaul: {capacity_bps: .inf}\n", "s.yaml:1:26: backhaul.capacity_bps: found .inf; allowed: "),
    broken("overflow", "backhaul: {capacity_bps: 1e999}\n", ":1:26: backhaul.capacity_bps: found 1e999; allowed: "),
    broken(
        "negative power", "network: {sbs: {power_dbm: -500}}\n", ":1:28: network.sbs.power_dbm: found -500; allowed: "
    ),
    broken(
        "negative latency", "backhaul: {latency_s: -1}\n", ":1:23: backhaul.latency_s: found -1; allowed: a number from"
    ),
    broken(
        "no capacity", "backhaul: {capacity_bps: 0}\n", ":1:26: backhaul.capacity_bps: found 0; allowed: ", "above 0"
    ),
    broken("no bandwidth", "radio: {bandwidth_hz: 0}\n", "s.yaml:1:23: radio.bandwidth_hz: found 0; allowed: "),
    broken(
        "frequency in GHz", "radio: {carrier_frequency_hz: 2.1}\n", "radio.carrier_frequency_hz: found 2.1; allowed: "
    ),
    broken("learning rate", "downlink: {learning_rate: -1e-3}\n", "downlink.learning_rate: found -1e-3", "above 0"),
    broken(
        "negative seed",
        "seed: -1\n",
        "s.yaml:1:7: seed: found -1; allowed: a whole number from 0 to 9223372036854775807",
    ),
    broken("name with a slash", "name: a/b\n", "s.yaml:1:7: name: found 'a/b'; allowed: at most 63 letters, digits"),
    broken("name is a list", "name: [a]\n", "s.yaml:1:7: name: found a list of 1; allowed: at most 63"),
    broken(
        "area of one side", "network: {area_m: [100]}\n", "s.yaml:1:19: network.area_m: found a list of 1; allowed: "
    ),
    broken(
        "area of nothing", "network: {area_m: [100, 0]}\n", ":1:19: network.area_m: found [100.0, 0.0]; allowed: width"
    ),
    broken(
        "coordinate is text", "network: {mbs: {position_m: [50, n]}}\n", ":1:34: network.mbs.position_m[1]: found 'n'"
    ),
    broken(
        "MBS outside", "network: {mbs: {position_m: [50, 500]}}\n", ":1:29: network.mbs.position_m: found [50, 500]"
    ),
    broken(
        "SBS outside",
        "network:\n  sbs:\n    positions_m:\n      - [1, 2]\n      - [1, -2]\n",
        "s.yaml:5:9: network.sbs.positions_m[1]: found [1, -2]; allowed: x in [0, 100], y in [0, 100]",
    ),
    broken(
        "same place", "network: {sbs: {positions_m: [[1, 2], [1, 2]]}}\n", ":1:39: network.sbs.positions_m[1]: found"
    ),
    broken(
        "count disagrees",
        "network: {sbs: {count: 3, positions_m: [[1, 2]]}}\n",
        ":1:40: network.sbs.positions_m: found a list of 1",
    ),
    broken(
        "azimuths disagree",
        "network: {sbs: {count: 3, azimuths_deg: [0, 90]}}\n",
        ":1:41: network.sbs.azimuths_deg: found a list of 2; allowed: as many as count, 3",
    ),
    broken(
        "azimuth beyond the circle",
        "network: {sbs: {positions_m: [[1, 2]], azimuths_deg: [400]}}\n",
        ":1:55: network.sbs.azimuths_deg[0]: found 400; allowed: a number from -360 to 360",
    ),
    broken(
        "station twice", "network: {sbs: {names: [a, b, a]}}\n", ":1:31: network.sbs.names[2]: found 'a' for a second"
    ),
    broken("station is mbs", "network: {sbs: {names: [a, mbs, b]}}\n", ":1:28: network.sbs.names[1]: found 'mbs'"),
    broken("station is a user", "network: {sbs: {names: [user-0, a, b]}}\n", "network.sbs.names[0]: found 'user-0'"),
    broken("names missing", "network: {sbs: {names: [a]}}\n", "network.sbs.names: found a list of 1; allowed: ", "3"),
    broken(
        "unknown word",
        "backhaul: {precision: float64}\n",
        "precision: found 'float64'; allowed: float32,",
        "mean 'float",
    ),
    broken("lower case word", "placement: {strategy: pack}\n", "placement.strategy: found 'pack'", "mean 'PACK'?"),
    broken(
        "third of a GPU", "placement: {sbs: {gpus: 0.3}}\n", ":1:25: placement.sbs.gpus: found 0.3; allowed: ", "1/k"
    ),
    broken(
        "one and a half GPUs", "placement: {sbs: {gpus: 1.5}}\n", "placement.sbs.gpus: found 1.5; allowed: ", "whole"
    ),
    broken("negative GPUs", "placement: {mbs: {gpus: -1}}\n", "placement.mbs.gpus: found -1; allowed: "),
    broken(
        "gpus misspelt", "placement: {sbs: {gpus: aut}}\n", "gpus: found 'aut'; allowed: a number or auto; did you mean"
    ),
    broken(
        "unknown engine", "engine: rya\n", "s.yaml:1:9: engine: found 'rya'; allowed: ray, inline; did you mean 'ray'?"
    ),
    broken("batch too large", "downlink: {batch: 400}\n", ":1:19: downlink.batch: found 400; allowed: at most", "300"),
    broken(
        "too few drops",
        "channel: {realisations: {train: 9}}\n",
        ":1:33: downlink.batch: found 100; allowed: at most channel.realisations.train, 9",
    ),
    broken(
        "frame too small", "backhaul: {max_frame_bytes: 2048}\n", ":1:29: backhaul.max_frame_bytes: found 2048; allowed"
    ),
]

EXTENSIONS = [
    broken("unknown model", "channel: {model: raleigh}\n", ":1:18: channel.model: found 'raleigh'", "mean 'rayleigh'?"),
    broken("part of a name", "channel: {model: uma}\n", "channel.model: found 'uma'", "did you mean 'tr38901-uma'?"),
    broken(
        "unknown named model", "channel: {model: {name: awgn}}\n", ":1:25: channel.model.name: found 'awgn'; allowed: "
    ),
    broken("model is a number", "channel: {model: 3}\n", "s.yaml:1:18: channel.model: found 3; allowed: rayleigh"),
    broken("unknown layout", "network: {sbs: {layout: hex}}\n", "network.sbs.layout: found 'hex'", "mean 'hexagonal'?"),
    broken("unknown topology", "backhaul: {topology: ring}\n", "backhaul.topology: found 'ring'; allowed: ", "star"),
    broken("unknown policy", "downlink: {policy: densse}\n", "downlink.policy: found 'densse'", "mean 'dense'?"),
    broken("unknown loss", "downlink: {loss_scheme: elu}\n", "downlink.loss_scheme: found 'elu'; allowed: ", "penalty"),
    broken("unknown algorithm", "downlink: {algorithm: cmtsl}\n", "downlink.algorithm: found 'cmtsl'; allowed: "),
    broken("unknown reference", "downlink: {references: [gsa]}\n", "downlink.references[0]: found 'gsa'", "'gsa-zf'?"),
    broken(
        "reference not in a list",
        "downlink: {references: ascent}\n",
        "downlink.references: found 'ascent'; allowed: a list",
    ),
    broken(
        "option out of range",
        "channel:\n  model:\n    name: rayleigh\n    path_loss_exponent: -2\n",
        "s.yaml:4:25: channel.model.path_loss_exponent: found -2; allowed: a number above 0",
    ),
    broken(
        "no trace file",
        "channel: {model: {name: trace, path: missing.npz}}\n",
        "s.yaml:1:38: channel.model.path: there is no file ",
        "missing.npz",
    ),
    Case(
        "trace of another shape",
        ("s.yaml:5:30: channel.model", "trace.npz", "shape [2, 2]"),
        text="name: a\nengine: inline\nnetwork: {sbs: {count: 2}}\nchannel:\n  model: {name: trace, path: trace.npz}\n",
        files={"trace.npz": b""},
    ),
    broken(
        "link to nowhere",
        "network: {sbs: {count: 2}}\nbackhaul: {topology: {name: edges, links: [[mbs, sbs-0], [mbs, sbs-9]]}}\n",
        "s.yaml:2:",
        "backhaul.topology",
        "'sbs-9'",
    ),
    broken(
        "station unreached",
        "network: {sbs: {count: 2}}\nbackhaul: {topology: {name: edges, links: [[mbs, sbs-0]]}}\n",
        "s.yaml:2:22: backhaul.topology: no path of links from mbs to sbs-1",
    ),
    broken(
        "no room",
        "network:\n  sbs: {count: 50, layout: {name: random, min_distance_m: 40}}\n",
        "s.yaml:2:28: network.sbs.layout: no room for 50 stations 40 m apart",
    ),
    broken(
        "hotspot outside",
        "network: {users: {layout: {name: hotspots, centres_m: [[10, 10], [500, 10]]}}}\n",
        "s.yaml:1:",
        "network.users.layout",
        "500",
    ),
    broken(
        "two rules",
        "backhaul: {topology: {name: mesh, neighbours: 2, range_m: 30}}\n",
        "s.yaml:1:22: backhaul.topology: give neighbours or range_m, not both",
    ),
]

EVENTS = [
    broken(
        "events are no list", "events: {at_step: 1, fail_mbs: before}\n", ":1:9: events: found a mapping; allowed: a "
    ),
    broken("event without a step", "events: [{fail_sbs: sbs-0}]\n", ":1:10: events[0].at_step: is missing; allowed: "),
    broken(
        "event before the start",
        "events: [{at_step: -1, fail_mbs: before}]\n",
        ":1:20: events[0].at_step: found -1; allowed: a whole number of at least 0",
    ),
    broken(
        "event after the end",
        "events: [{at_step: 151, fail_mbs: before}]\n",
        ":1:20: events[0].at_step: found 151; allowed: at most 150, the training steps",
    ),
    broken(
        "event without action", "events: [{at_step: 1}]\n", ":1:10: events[0]: found no action; allowed: one of inj"
    ),
    broken(
        "two actions at once",
        "events:\n  - {at_step: 1, fail_mbs: before}\n  - {at_step: 1, fail_mbs: before, cut_link: [mbs, sbs-0]}\n",
        "s.yaml:3:5: events[1]: found fail_mbs and cut_link; allowed: one of inject_sbs, ",
    ),
    broken(
        "action misspelt", "events: [{at_step: 1, cut_links: [a, b]}]\n", ":1:23: events[0].cut_links: ", "cut_link'?"
    ),
    broken(
        "option of an action misspelt",
        "events: [{at_step: 1, inject_sbs: {position_m: [1, 2], transfers: none}}]\n",
        ":1:56: events[0].inject_sbs.transfers: unknown key; allowed: position_m,",
        "did you mean 'transfer'?",
    ),
    broken(
        "new station looks nowhere",
        "events: [{at_step: 1, inject_sbs: {position_m: [1, 2], azimuth_deg: north}}]\n",
        ":1:69: events[0].inject_sbs.azimuth_deg: found 'north'; allowed: a number from -360 to 360",
    ),
    broken(
        "moment misspelt", "events: [{at_step: 1, fail_mbs: durin}]\n", "events[0].fail_mbs: found 'durin'", "during'?"
    ),
    broken(
        "transfer misspelt",
        "events: [{at_step: 1, inject_sbs: {position_m: [1, 2], transfer: closest}}]\n",
        ":1:66: events[0].inject_sbs.transfer: found 'closest'; allowed: nearest, farthest, random, none",
    ),
    broken(
        "link of one end", "events: [{at_step: 1, cut_link: [mbs]}]\n", ":1:33: events[0].cut_link: found a list of 1"
    ),
    broken(
        "link slowed by nothing",
        "events: [{at_step: 1, slow_link: {between: [mbs, sbs-0]}}]\n",
        ":1:34: events[0].slow_link: found neither capacity_bps nor latency_s; allowed: one of them",
    ),
    broken(
        "no time to restart", "restart_timeout_s: 0\n", ":1:20: restart_timeout_s: found 0; allowed: a number above 0"
    ),
    broken("failure misspelt", "on_failure: dorp\n", ":1:13: on_failure: found 'dorp'; allowed: ", "mean 'drop'?"),
    override(
        "end before an event", "events=[{at_step: 3, fail_mbs: before}]", ": events[0].at_step: found 3; allowed: at"
    ),
    broken(
        "injection outside",
        GOOD + "events:\n  - at_step: 1\n    inject_sbs: {position_m: [500, 2]}\n",
        "s.yaml:12:30: events[0].inject_sbs.position_m: found [500, 2]; allowed: x in [0, 100]",
    ),
    broken(
        "injection on top",
        GOOD + "events: [{at_step: 1, inject_sbs: {position_m: [25, 50]}}]\n",
        "s.yaml:10:48: events[0].inject_sbs.position_m: found [25, 50], where station 'sbs-0' stands",
    ),
    broken(
        "injection of a name that is taken",
        GOOD + "events: [{at_step: 1, inject_sbs: {position_m: [1, 2], name: sbs-1}}]\n",
        "s.yaml:10:62: events[0].inject_sbs.name: found 'sbs-1', which is active; allowed: a name that no",
    ),
    broken(
        "removal of nobody",
        GOOD + "events: [{at_step: 1, remove_sbs: sbs-7}]\n",
        "s.yaml:10:35: events[0].remove_sbs: there is no station 'sbs-7'; there are sbs-0, sbs-1",
    ),
    broken(
        "removal of all",
        GOOD + "events: [{at_step: 1, remove_sbs: sbs-0}, {at_step: 2, remove_sbs: sbs-1}]\n",
        "s.yaml:10:68: events[1].remove_sbs: station 'sbs-1' is the last one that serves users",
    ),
    broken(
        "cut of no link",
        GOOD + "events: [{at_step: 1, cut_link: [sbs-0, sbs-1]}]\n",
        "s.yaml:10:33: events[0].cut_link: there is no link between 'sbs-0' and 'sbs-1'; 'sbs-0' is linked to mbs",
    ),
    broken(
        "repair of a whole link",
        GOOD + "events: [{at_step: 1, restore_link: [mbs, sbs-0]}]\n",
        "s.yaml:10:37: events[0].restore_link: the link between 'mbs' and 'sbs-0' is neither cut nor slowed down",
    ),
]

OVERRIDES = [
    override("no equals sign", "downlink.epochs", ": found no '='; allowed: --set key=value"),
    override("no key", "=5", ": found key ''; allowed: a dotted path"),
    override("empty step", "downlink..epochs=5", ": found key 'downlink..epochs'; allowed: a dotted path"),
    override("no value", "downlink.epochs=", ": downlink.epochs: found nothing; allowed: a whole number"),
    override("value out of range", "downlink.epochs=-1", ": downlink.epochs: found -1; allowed: a whole number from 0"),
    override("value of a wrong type", "downlink.epochs=many", ": downlink.epochs: found 'many'; allowed: a whole"),
    override("value is no YAML", "network.area_m=[100", ": not valid YAML: expected ',' or ']'"),
    override("unknown section", "dwonlink.epochs=5", ": dwonlink: unknown key", "did you mean 'downlink'?"),
    override("unknown key", "downlink.epoch=5", ": downlink.epoch: unknown key", "did you mean 'epochs'?"),
    override(
        "unknown option", "channel.model.exponent=3", ": channel.model.exponent: unknown key", "path_loss_exponent"
    ),
    override("key below a number", "seed.x=3", ": seed is 1, which has no key 'x'"),
    override("index out of range", "downlink.references[3]=ascent", ": downlink.references is a list of 1", "0 to 0"),
    override(
        "index is a word", "downlink.references.first=ascent", ": downlink.references is a list of 1: found index"
    ),
    override("batch beyond split", "downlink.batch=21", ": downlink.batch: found 21; allowed: at most", "20"),
    override("split below batch", "channel.realisations.train=9", ": downlink.batch", "train, 9"),
    override("area too small", "network.area_m=[40, 40]", ": network.mbs.position_m: found [50, 50]"),
    override(
        "position outside", "network.mbs.position_m=[-1, 0]", ": network.mbs.position_m: found [-1, 0]; allowed: x"
    ),
    override("NaN", "radio.noise_dbm=.nan", ": radio.noise_dbm: found .nan; allowed: a number"),
    Case("two documents", ("--set seed=1\\n---\\n2: a second document",), options=("--set", "seed=1\n---\n2")),
    Case("seed is text", ("--seed one: seed: found 'one'; allowed: a whole number",), options=("--seed", "one")),
    Case("seed is negative", ("--seed -1: seed: found -1; allowed: a whole number",), options=("--seed", "-1")),
    Case("engine", ("--engine rey: engine: found 'rey'; allowed: ray, inline; did you",), options=("--engine", "rey")),
]

COMMANDS = [
    command("nothing", "", "the following arguments are required: COMMAND; see 'cellfree --help'"),
    command("unknown command", "rnu s.yaml", "unknown command 'rnu'; allowed: run, inject", "did you mean 'run'?"),
    command("unknown action", "scenarios lst", "unknown command 'lst'; allowed: list, show", "did you mean 'list'?"),
    command("no scenario", "run", "run: SCENARIO is missing; allowed: a YAML file"),
    command("empty scenario", "run ''", "run: SCENARIO is missing; allowed: a YAML file"),
    command("empty folder name", "run s.yaml --out ''", "--out: found nothing; allowed: a new or empty folder"),
    command("resume with a scenario", "run s.yaml --resume x", "--resume goes on with the scenario of the run folder"),
    command(
        "resume with a seed",
        "run --resume x --seed 2",
        "leave out SCENARIO, --out, --engine, --seed, --set, --detach and --dry-run",
    ),
    command("plan and detach", "run s.yaml --dry-run --detach", "--dry-run starts nothing; leave out --detach"),
    command("inject nowhere", "inject", "the following arguments are required: --position"),
    command("one number", "inject --position 75", "--position: found '75'; allowed: X,Y in metres, such as 75,75"),
    command("three numbers", "inject --position 1,2,3", "--position: found '1,2,3'; allowed: X,Y in metres"),
    command("no numbers", "inject --position north,east", "--position: found 'north,east'; allowed: X,Y"),
    command("not finite", "inject --position nan,1", "--position: found 'nan,1'; allowed: X,Y in metres"),
    command("negative and odd", "inject --position -5;7", "--position: found '-5;7'; allowed: X,Y in metres"),
    command(
        "unknown transfer",
        "inject --position 1,2 --transfer nearst",
        "--transfer 'nearst'; allowed: nearest, farthest, random, none; did you mean 'nearest'?",
    ),
    command("unknown after", "inject --position 1,2 --after x", "--after 'x'; allowed: fine-tune, execute"),
    command("inject into nothing", "inject --position 1,2", "no run is running in runs; give the folder of one"),
    command("inject into no run", "inject --position 1,2 --run nowhere", "nowhere: there is no such run"),
    command("no address", "status --address here", "--address here: expected host:port of a Ray cluster's GCS"),
    command("inject at auto", "inject --position 1,2 --address auto", "--address auto: expected host:port"),
    command("remove nothing", "remove", "the following arguments are required: SBS"),
    command("remove from no run", "remove sbs-1 --run nowhere", "nowhere: there is no such run"),
    command("remove two", "remove sbs-1 sbs-2", "one argument too many: 'sbs-2'"),
    command("status of nothing", "status --run nowhere", "nowhere: there is no such run"),
    command("status of a folder", "status --run .", ": is no run folder, it has no scenario.yaml and no run.log"),
    command("stop nothing", "stop", "no run is running in runs; give the folder of one"),
    command("stop what is not there", "stop nowhere", "nowhere: there is no such run"),
    command("resume nothing", "run --resume nowhere", "nowhere: there is no such run folder"),
    command("resume a file", "run --resume s.yaml", "s.yaml: is a file, a run folder expected"),
    command("unknown option", "run s.yaml --outt x", "unknown option '--outt'; allowed: ", "did you mean '--out'?"),
    command("shortened option", "run s.yaml --qui", "unknown option '--qui'", "did you mean '--quiet'?"),
    command("option without value", "run s.yaml --out", "argument --out: expected one argument"),
    command("one argument too many", "run s.yaml other.yaml", "one argument too many: 'other.yaml'"),
    command("missing file", "run missing.yaml", "missing.yaml: no such file"),
    command("misspelt file", "run ss.yaml", "ss.yaml: no such file; did you mean 's.yaml'?"),
    command("misspelt name", "run quikstart", "quikstart: no such file or scenario; allowed: ", "mean 'quickstart'?"),
    command("a folder", "run folder", "folder: is a folder; a scenario is a YAML file"),
    command("a folder for a file", "run s.yaml/x.yaml", "s.yaml/x.yaml: no such file"),
    command("show nothing", "scenarios show nothing", "nothing: no such file or scenario; allowed: "),
    command("check nothing", "scenarios check", "the following arguments are required: FILE"),
    command("list too much", "scenarios list x", "one argument too many: 'x'"),
    command("out is taken", "run s.yaml --out folder", "folder: the folder is not empty"),
    command("out is a file", "run s.yaml --out s.yaml", "s.yaml: is a file"),
    command("out below a file", "run s.yaml --out s.yaml/run", "s.yaml/run: cannot be used"),
    command("out cannot be made", "run s.yaml --out /proc/none/run", "/proc/none/run: cannot be used"),
    command("address without cluster", "run s.yaml --address localhost:1", "--address has no meaning with the inline"),
    command("report of nothing", "report missing", "missing: there is no such run"),
    command("report of a file", "report s.yaml", "s.yaml: is a file"),
    command("report of another folder", "report folder", "folder: is no run folder"),
    command("unknown benchmark", "bench trainin", "unknown benchmark 'trainin'; allowed: ", "mean 'training'?"),
]

CASES = [*FILES, *KEYS, *VALUES, *EXTENSIONS, *EVENTS, *OVERRIDES, *COMMANDS]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "kept.txt").write_text("mine")
    return tmp_path


def prepare(case: Case, place: Path) -> list[str]:
    """Write what the case needs; returns the command line."""
    (place / "s.yaml").write_bytes(case.text.encode() if case.raw is None else case.raw)
    for name in case.files:
        np.savez(place / name, channel=np.zeros((2, 2), dtype=np.complex64))
    if case.command is not None:
        return list(case.command)
    return ["run", "s.yaml", "--out", "out/run", *case.options]


def contents(place: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in sorted(place.rglob("*"))}


def check(case: Case, status: int, out: str, err: str) -> None:
    assert status == 2, err
    assert out == ""
    assert "Traceback" not in err
    lines = err.splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("cellfree: error: ")
    assert lines[0].isprintable()
    rest = lines[0]
    for fragment in case.says:
        assert fragment in rest, f"{fragment!r} is not in {rest!r} of {lines[0]!r}"
        rest = rest.split(fragment, 1)[1]


def test_cases_differ() -> None:
    assert len({case.id for case in CASES if case in OVERRIDES}) == len(OVERRIDES)
    assert len({(case.text, case.raw, case.options, case.command) for case in CASES}) == len(CASES) >= 60


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_is_refused(case: Case, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = prepare(case, place)
    before = contents(place)
    status = main(argv)
    captured = capsys.readouterr()
    check(case, status, captured.out, captured.err)
    assert contents(place) == before


@pytest.mark.parametrize("case", [FILES[0], KEYS[1], OVERRIDES[4], COMMANDS[1]], ids=lambda case: case.id)
def test_is_refused_by_the_process(case: Case, place: Path) -> None:
    argv = prepare(case, place)
    before = contents(place)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, "-m", "cellfree_sim", *argv]
    done = subprocess.run(command, capture_output=True, text=True, cwd=place, env=environment, check=False)
    check(case, done.returncode, done.stdout, done.stderr)
    assert contents(place) == before


def test_several_errors_have_a_line_each(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "s.yaml").write_text("seed: -1\nnetwork:\n  sbs: {count: 0}\n  user: {}\n")
    assert main(["run", "s.yaml"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[2:4] for line in lines] == [
        ["s.yaml:4:3", "network.user"],
        ["s.yaml:1:7", "seed"],
        ["s.yaml:3:16", "network.sbs.count"],
    ]


def test_no_more_than_ten_lines(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "s.yaml").write_text("".join(f"key{index}: 1\n" for index in range(30)))
    assert main(["run", "s.yaml"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10
    assert lines[-1] == "cellfree: error: and 21 more errors"


def test_check_goes_on_after_a_bad_file(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "bad.yaml").write_text("seed: x\n")
    (place / "good.yaml").write_text(GOOD)
    assert main(["scenarios", "check", "bad.yaml", "good.yaml", "missing.yaml"]) == 2
    captured = capsys.readouterr()
    assert captured.out == "good.yaml: good: 2 stations, 4 users, 2 training steps\n"
    assert [line.split(": ")[2] for line in captured.err.splitlines()] == ["bad.yaml:1:7", "missing.yaml"]
