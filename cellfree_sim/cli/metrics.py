"""``cellfree metrics``: what runs on Ray tell Prometheus, how it is scraped, and a dashboard for Grafana."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from cellfree_sim.cli.commands import Commands, add_json
from cellfree_sim.cli.terminal import DONE, show, table
from cellfree_sim.errors import UserError

if TYPE_CHECKING:
    import argparse

DEFAULT_PORT = "9464"
FOUND_BY_RAY = "/tmp/ray/prom_metrics_service_discovery.json"

_EPILOG = """\
examples:
  cellfree run quickstart --set placement.metrics_port=9464  a laptop: serve http://127.0.0.1:9464/metrics meanwhile
  cellfree metrics prometheus --out prometheus.yml           scrape that; then: prometheus --config.file=prometheus.yml
  cellfree metrics prometheus --target 10.0.0.1:8080 --target 10.0.0.2:8080
                                                             nodes begun with: ray start --metrics-export-port=8080
  cellfree metrics dashboard --out cellfree.json             import it in Grafana: Dashboards, New, Import
  cellfree metrics list                                      names, kinds and labels

Runs on Ray tell, through Ray's own exporter; it needs: pip install 'cellfree-sim[metrics]'
"""


def add_to(commands: Commands) -> Commands:
    """Add the command; returns those below it."""
    parser = commands.add("metrics", None, "show what runs tell Prometheus, and a dashboard for Grafana", _EPILOG)
    actions = Commands(parser, "action")
    add_json(actions.add("list", _list, "list the metrics of a run"))
    dashboard = actions.add("dashboard", _dashboard, "print a dashboard for Grafana")
    scrape = actions.add("prometheus", _prometheus, "print settings with which Prometheus finds the metrics", _EPILOG)
    scrape.add_argument(
        "--target",
        metavar="HOST:PORT",
        action="append",
        help=f"of a node; again for others (default 127.0.0.1:{DEFAULT_PORT})",
    )
    for each in (dashboard, scrape):
        each.add_argument("--out", metavar="FILE", help="write it to a file")
    return actions


def _list(arguments: argparse.Namespace) -> int:
    from cellfree_sim.results.prometheus import METRICS

    found = [
        {"name": each.exposed_name, "kind": each.kind, "labels": ["run", *each.labels], "help": each.help}
        for each in METRICS.values()
    ]
    if arguments.json:
        show(json.dumps(found, indent=2))
    else:
        rows = [[str(each["name"]), str(each["kind"]), " ".join(each["labels"]), str(each["help"])] for each in found]
        show(table([["name", "kind", "labels", "what it is"], *rows]))
    return DONE


def _dashboard(arguments: argparse.Namespace) -> int:
    from cellfree_sim.results.prometheus import dashboard

    return _put(dashboard(), arguments.out)


def _prometheus(arguments: argparse.Namespace) -> int:
    targets = arguments.target or [f"127.0.0.1:{DEFAULT_PORT}"]
    for target in targets:
        host, _, port = target.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536 or any(c in "'\" \n" for c in host):
            raise UserError(f"--target: found '{target}'; allowed: host:port of a node's metrics")
    listed = ", ".join(f"'{target}'" for target in targets)
    text = f"""\
global: {{scrape_interval: 5s}}
scrape_configs:
  - job_name: cellfree
    static_configs:
      - targets: [{listed}]
    # a cluster with Ray's dashboard lists its nodes by itself, on its head:
    # file_sd_configs: [{{files: ['{FOUND_BY_RAY}']}}]
"""
    return _put(text, arguments.out)


def _put(text: str, out: str | None) -> int:
    """To stdout, or to a file, whose name goes there then."""
    if out is None:
        show(text.removesuffix("\n"))
        return DONE
    if not out:
        raise UserError("--out: found nothing; allowed: a file")
    from cellfree_sim.results.files import write_atomically

    write_atomically(Path(out), text)
    show(out)
    return DONE
