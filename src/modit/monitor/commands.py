"""The command `modit exporter`, which serves the metrics of runs."""

from __future__ import annotations

import argparse
import importlib.util

from modit.core.errors import ConfigError


def add_monitor_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the command line.

    Args:
        commands: sub-parsers of the command line.
    """
    parser = commands.add_parser("exporter", help="the newest runs as metrics for Prometheus")
    parser.add_argument("--runs", required=True, metavar="URI", help="where runs live: a path or an address like s3://")
    parser.add_argument("--port", type=int, default=9108, help="(default %(default)s)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--newest", type=int, default=50, metavar="N", help="runs to read (default %(default)s)")
    parser.set_defaults(command=_exporter)


def _exporter(chosen: argparse.Namespace) -> int:
    if importlib.util.find_spec("prometheus_client") is None:
        raise ConfigError("prometheus_client is not installed: pip install 'modit[monitor]'")
    from modit.monitor.exporter import serve

    serve(chosen.runs, chosen.host, chosen.port, chosen.newest)
    return 0
