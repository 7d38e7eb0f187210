"""The command `modit serve`."""

from __future__ import annotations

import argparse
import importlib.util
import os

from modit.core.errors import ConfigError
from modit.core.machine import usable_cores


def add_serve_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds it to the command line."""
    parser = commands.add_parser(
        "serve", help="answer retrieval requests from the registered versions that have an alias"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one (default %(default)s)")
    parser.add_argument("--registry", metavar="URI", help="the MLflow registry (default: MLFLOW_TRACKING_URI)")
    parser.add_argument("--alias", default="champion", help="of the versions to answer from (default %(default)s)")
    parser.add_argument("--domains", metavar="A,B", help="(default: all that have a version with the alias)")
    parser.add_argument(
        "--verdicts",
        action="append",
        default=[],
        metavar="DOMAIN=FILE",
        help="answer for a domain that nothing is trained for from its verdicts (CSV, Parquet or JSON lines of ids and "
        "0 / 1), over the catalogue of the others; may be given several times",
    )
    parser.add_argument("--reload-seconds", type=float, default=30.0, help="between looks at the registry (30)")
    parser.add_argument(
        "--threads",
        type=int,
        default=usable_cores(),
        help="requests answered at the same time (default: the usable cores)",
    )
    parser.add_argument("--queue", type=int, default=64, help="requests that wait at most (default %(default)s)")
    parser.add_argument("--timeout-seconds", type=float, default=10.0, help="for an answer (default %(default)s)")
    parser.add_argument("--rate", type=float, help="requests a second of one client (default: any number)")
    parser.add_argument(
        "--log-requests",
        metavar="URI",
        help="input folder that gets answered requests as labels (default: MODIT_LOG_REQUESTS)",
    )
    parser.add_argument(
        "--index",
        metavar="ADDRESS",
        help="search a collection of your own engine, such as postgresql://HOST/DB?collection=items or "
        "lance:///FOLDER?collection=items (default: MODIT_INDEX, or the bundle's index)",
    )
    parser.add_argument(
        "--features",
        metavar="FOLDER",
        help="feature store that seeds are read from by id (default: MODIT_FEATURES, or the bundle)",
    )
    parser.add_argument(
        "--features-timeout-seconds",
        type=float,
        default=0.2,
        help="limit of a look-up in the feature store; after it the bundle is used (default %(default)s)",
    )
    parser.add_argument(
        "--root-path",
        default="",
        metavar="PATH",
        help="path under which a reverse proxy serves this service and which it strips, such as /modit",
    )
    parser.add_argument("--insecure", action="store_true", help="listen beyond this machine without MODIT_API_KEYS")
    parser.set_defaults(command=_serve)


def _serve(given: argparse.Namespace) -> int:
    from modit.serve.settings import (
        FEATURES_VARIABLE,
        INDEX_VARIABLE,
        LOG_VARIABLE,
        Settings,
        api_keys,
        chosen,
        registry_address,
        verdict_files,
    )

    features = chosen(given.features, FEATURES_VARIABLE)
    needed = ["fastapi", "jwt", "uvicorn", "prometheus_client", *(["feast"] if features else [])]
    if missing := [name for name in needed if not importlib.util.find_spec(name)]:
        extras = "serve,features" if features else "serve"
        raise ConfigError(f"{', '.join(missing)} not installed: pip install 'modit[{extras}]'")
    from modit.index.engines.collection import EngineAddress, open_collection
    from modit.serve.oidc import OidcSettings
    from modit.serve.run import serve

    engine = chosen(given.index, INDEX_VARIABLE)
    address = EngineAddress.parse(engine) if engine else None
    if address:
        open_collection(address)  # tells now that its client is not installed
    options = {name: value for name, value in vars(given).items() if name in Settings.__dataclass_fields__}
    options |= {
        "registry": registry_address(given.registry),
        "domains": None if given.domains is None else tuple(filter(None, given.domains.split(","))),
        "verdicts": verdict_files(given.verdicts),
        "log_requests": chosen(given.log_requests, LOG_VARIABLE),
        "features": features,
        "engine": address,
    }
    serve(Settings(**options, keys=api_keys(), oidc=OidcSettings.of(os.environ)))
    return 0
