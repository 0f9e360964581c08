"""The network of a run as GraphML, for Gephi, yEd, Cytoscape and igraph.

GraphML carries numbers, words and yes or no: every attribute of stations, users and links that is one of these stands
there under its own name. Added are ``label``, and ``x``, ``y``, ``z`` (metres), from which Gephi takes positions; links
also carry ``bytes`` and ``frames``, what went over them in both directions together.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from cellfree_sim.errors import RunFolderError, UserError
from cellfree_sim.results import tables

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import networkx as nx

    from cellfree_sim.results.analysis import RunData


def write_graphml(run: RunData, path: Path) -> Path:
    """Write the network of a run as GraphML.

    Raises:
        UserError: the run has not come to its network.
        RunFolderError: the run folder is damaged, or the file cannot be written.
    """
    import networkx as nx

    if not len(run.topology):
        raise UserError(f"{run.folder}: has no topology.json yet; there is no network to export")
    try:
        nx.write_graphml_xml(plain_graph(run), path, named_key_ids=True)
    except OSError as error:
        raise RunFolderError(f"{path}: cannot be written: {error.strerror or error}") from error
    return path


def plain_graph(run: RunData) -> nx.Graph:
    """The network with attributes that GraphML has, and with what its links carried."""
    import networkx as nx

    graph = nx.Graph(name=run.name)
    for name, attributes in run.topology.nodes(data=True):
        places = {axis: float(attributes[f"{axis}_m"]) for axis in "xyz" if f"{axis}_m" in attributes}
        graph.add_node(name, **_plain(attributes), label=str(name), **places)
    for a, b, attributes in run.topology.edges(data=True):
        graph.add_edge(a, b, **_plain(attributes), bytes=0, frames=0)
    for (a, b), (size, frames) in carried(run).items():
        if graph.has_edge(a, b):
            graph.edges[a, b]["bytes"] += size
            graph.edges[a, b]["frames"] += frames
    return graph


def carried(run: RunData) -> dict[tuple[str, str], tuple[int, int]]:
    """Bytes and frames of first attempts over each link, by direction."""
    totals: dict[tuple[str, str], tuple[int, int]] = {}
    for table in tables.read_batches(run.folder / "backhaul.parquet", tables.BACKHAUL):
        first = table[table["attempt"] == 0]
        for path, sizes in first.groupby("path")["bytes"]:
            stations = str(path).split(">")
            for link in itertools.pairwise(stations):
                size, frames = totals.get(link, (0, 0))
                totals[link] = size + int(sizes.sum()), frames + len(sizes)
    return totals


def _plain(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if isinstance(value, bool | int | float | str)}
