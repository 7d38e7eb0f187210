"""`modit VERB ...`: one verb per thing that a person does. Heavy imports stay inside the verbs."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from modit.core.errors import ConfigError, ModitError
from modit.core.registry import Registry
from modit.release.packaging.verbs import add_packaging_verbs
from modit.release.promotion.verbs import add_verbs
from modit.release.review.verbs import add_review_verbs


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb.

    Args:
        arguments: the command line without the program's name; that of the process if None.

    Returns:
        Exit status: 0, or 1 after an error that names what to change (2 for a wrong command line, from argparse).
    """
    chosen = build_parser().parse_args(arguments)
    try:
        return chosen.verb(chosen)
    except ModitError as error:
        print(f"modit: {error}", file=sys.stderr)
        return 1


def build_parser() -> argparse.ArgumentParser:
    """The command line: each verb adds its own sub-parser and sets `verb` to its function."""
    parser = argparse.ArgumentParser(
        prog="modit", description="Generative retrieval that keeps a pattern and finds an attribute."
    )
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")
    _add_demo_world(verbs)
    _add_verdict(verbs)
    _add_reproduce(verbs)
    _add_kfp(verbs)
    _add_exporter(verbs)
    add_review_verbs(verbs, _steps)
    add_verbs(verbs)
    add_packaging_verbs(verbs)
    _add_serve(verbs)
    _add_query(verbs)
    return parser


def _add_verdict(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = verbs.add_parser("verdict", help="show the verdict of a run, and where its report is")
    parser.add_argument("--run", required=True, metavar="URI", help="the run's folder: a path or an address like s3://")
    parser.set_defaults(verb=_verdict)


def _verdict(chosen: argparse.Namespace) -> int:
    from modit.core.verdict import data_docs, read_verdict, report_pages, served_figures, verdict_table

    print(verdict_table(read_verdict(chosen.run)))
    print(*(f"served:  {line}" for line in served_figures(chosen.run)), sep="\n")
    print(*(f"report:  {page}" for page in report_pages(chosen.run)), sep="\n")
    print(*(f"data:    {page}" for page in data_docs(chosen.run)), sep="\n")
    return 0


def _add_reproduce(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = verbs.add_parser("reproduce", help="run a registered model version again and compare digests")
    parser.add_argument("version", metavar="MODEL_VERSION", help="such as modit-popular/3")
    parser.add_argument(
        "--run",
        metavar="URI",
        help="the run that registered it, or another beside it; not needed with MLFLOW_TRACKING_URI",
    )
    parser.add_argument(
        "--into", type=Path, metavar="DIR", help="folder for data and the new run (default reproduced/MODEL_VERSION)"
    )
    parser.set_defaults(verb=_reproduce)


def _reproduce(chosen: argparse.Namespace) -> int:
    root = _checkout("reproducing")
    from components.registry import REGISTRY
    from modit.release.registry.address import registry_uri
    from modit.release.registry.model_version import parse_version
    from modit.release.registry.registry import MlflowRegistry
    from modit.release.reproduction.reproduce import reproduce
    from modit.release.reproduction.reproduction import reproduction_text

    model, version = parse_version(chosen.version)
    record = MlflowRegistry(registry_uri(chosen.run)).record(model, version)
    folder = (chosen.into or Path("reproduced", f"{model}-{version}")).resolve()
    found = reproduce(record, REGISTRY, root, folder)
    print(reproduction_text(found))
    return 0 if found.first_difference is None else 1


def _add_kfp(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from modit.core.step import PRESETS

    orders = verbs.add_parser("kfp", help="Kubeflow Pipelines").add_subparsers(required=True, metavar="ORDER")
    parser = orders.add_parser("submit", help="start the main job on a server, once or on a schedule")
    parser.add_argument("--host", metavar="URL", help="the server's API (default: KF_PIPELINES_ENDPOINT)")
    parser.add_argument("--namespace", help="of a server with several users")
    parser.add_argument("--experiment", default="modit", help="under which runs are listed (default %(default)s)")
    parser.add_argument("--schedule", metavar="CRON", help="a recurring run; each reads the window that ends that day")
    parser.add_argument("--image", action="append", default=[], metavar="[KIND=]REFERENCE", help="see docs/kubeflow.md")
    parser.add_argument("--accelerator", default="nvidia.com/gpu", metavar="RESOURCE", help="none: without")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE", help="variable of every task")
    parser.add_argument("--shards", type=int, metavar="N", help="tasks that share the items of a sharded step")
    parser.add_argument("--catalogue", required=True, metavar="URI", help="folder in the input contract")
    parser.add_argument("--run-root", required=True, metavar="URI", help="where runs live")
    parser.add_argument("--run", metavar="NAME", help="below run-root (default: of the time); the same again resumes")
    parser.add_argument("--domains", default="all", help="names with commas between (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--preset", choices=PRESETS, default="small", help="(default %(default)s)")
    parser.add_argument("--overrides", default="{}", metavar="JSON", help="over the preset")
    parser.add_argument("--window", metavar="START:END", help="days of dated logs, the end not included")
    parser.set_defaults(verb=_kfp_submit)


def _kfp_submit(chosen: argparse.Namespace) -> int:
    root = _checkout("submitting")
    if importlib.util.find_spec("kfp") is None:
        raise ConfigError(f"kfp is not installed: pip install -c constraints.txt -e '.[kfp]' in {root}")
    from pipelines.kfp_submit import submit

    print(submit(chosen))
    return 0


def _add_exporter(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = verbs.add_parser("exporter", help="the newest runs as metrics for Prometheus")
    parser.add_argument("--runs", required=True, metavar="URI", help="where runs live: a path or an address like s3://")
    parser.add_argument("--port", type=int, default=9108, help="(default %(default)s)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--newest", type=int, default=50, metavar="N", help="runs to read (default %(default)s)")
    parser.set_defaults(verb=_exporter)


def _exporter(chosen: argparse.Namespace) -> int:
    if importlib.util.find_spec("prometheus_client") is None:
        raise ConfigError("prometheus_client is not installed: pip install -c constraints.txt -e '.[monitor]'")
    from modit.monitor.exporter import serve

    serve(chosen.runs, chosen.host, chosen.port, chosen.newest)
    return 0


def _add_serve(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = verbs.add_parser("serve", help="answer retrieval requests from the registered versions that bear an alias")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one (default %(default)s)")
    parser.add_argument("--registry", metavar="URI", help="the MLflow registry (default: MLFLOW_TRACKING_URI)")
    parser.add_argument("--alias", default="champion", help="of the versions to answer from (default %(default)s)")
    parser.add_argument("--domains", metavar="A,B", help="(default: all that have a version with the alias)")
    parser.add_argument("--reload-seconds", type=float, default=30.0, help="between looks at the registry (30)")
    parser.add_argument("--threads", type=int, help="requests answered at the same time (default: the cores)")
    parser.add_argument("--queue", type=int, default=64, help="requests that wait at most (default %(default)s)")
    parser.add_argument("--timeout-seconds", type=float, default=10.0, help="for an answer (default %(default)s)")
    parser.add_argument("--rate", type=float, help="requests a second of one client (default: any number)")
    parser.add_argument("--log-requests", metavar="URI", help="input folder that gets answered requests as labels")
    parser.add_argument("--precision", help="of the weights: float32, or int8 (default: MODIT_PRECISION, or float32)")
    parser.add_argument("--insecure", action="store_true", help="listen beyond this machine without MODIT_API_KEYS")
    parser.set_defaults(verb=_serve)


def _serve(chosen: argparse.Namespace) -> int:
    if missing := [
        name for name in ("fastapi", "jwt", "uvicorn", "prometheus_client") if not importlib.util.find_spec(name)
    ]:
        raise ConfigError(f"{', '.join(missing)} not installed: pip install -c constraints.txt '.[serve]'")
    from modit.serve.oidc import OidcSettings
    from modit.serve.run import serve
    from modit.serve.settings import Settings, api_keys, chosen_precision, registry_address

    given = {"threads": chosen.threads} if chosen.threads is not None else {}
    if chosen.domains is not None:
        given["domains"] = tuple(filter(None, chosen.domains.split(",")))
    serve(
        Settings(
            registry=registry_address(chosen.registry),
            alias=chosen.alias,
            host=chosen.host,
            port=chosen.port,
            reload_seconds=chosen.reload_seconds,
            queue=chosen.queue,
            timeout_seconds=chosen.timeout_seconds,
            rate=chosen.rate,
            log_requests=chosen.log_requests,
            precision=chosen_precision(chosen.precision),
            keys=api_keys(),
            oidc=OidcSettings.of(os.environ),
            insecure=chosen.insecure,
            **given,
        )
    )
    return 0


def _add_query(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = verbs.add_parser("query", help="ask a running service for items that are like some and have an attribute")
    parser.add_argument("--domain", required=True, help="the attribute wanted")
    parser.add_argument("--seeds", required=True, metavar="ID,ID", help="items of the index")
    parser.add_argument("-k", type=int, default=10, help="items wanted (default %(default)s)")
    parser.add_argument("--guidance", type=float, help="(default: the one that validation chose)")
    parser.add_argument("--filter", type=_json, metavar="JSON", help='such as {"include": {"title": "chair"}}')
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="of the service (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="the answer as JSON, not as a table")
    parser.set_defaults(verb=_query)


def _query(chosen: argparse.Namespace) -> int:
    from modit.client import KEY_VARIABLE, Client, table

    client = Client(chosen.url, os.environ.get(KEY_VARIABLE))
    seeds = [each for each in chosen.seeds.split(",") if each]
    answer = client.retrieve(chosen.domain, seeds, chosen.k, guidance=chosen.guidance, filter=chosen.filter)
    print(json.dumps(asdict(answer), indent=1) if chosen.json else table(answer))
    return 0


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no JSON: {error}") from error


def _steps() -> Registry:
    _checkout("a plan")
    from components.registry import REGISTRY

    return REGISTRY


def _checkout(what: str) -> Path:
    """The repository's folder, from where the steps can then be imported."""
    root = Path(__file__).resolve().parents[2]
    if not (root / "components").is_dir():
        raise ConfigError(f"{what} needs a checkout of the repository; modit is installed in {root}")
    sys.path.append(str(root))
    return root


def _add_demo_world(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = verbs.add_parser("demo-world", help="generate a catalogue in the input contract")
    parser.add_argument("--out", type=Path, required=True, help="folder to make")
    parser.add_argument("--items", type=int, default=20_000, help="5,000 to 10,000,000 (default %(default)s)")
    parser.add_argument("--domains", type=int, default=3, help="attribute domains, 1 to 8 (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same bytes (default %(default)s)")
    parser.add_argument("--dimension", type=int, default=64, help="width of an embedding (default %(default)s)")
    parser.add_argument("--days", type=int, default=30, help="days of interactions (default %(default)s)")
    parser.add_argument(
        "--shared-direction",
        type=float,
        default=0.5,
        help="how much of an attribute's direction all patterns share, 0 to 1 (default %(default)s)",
    )
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="KIND:DAY",
        help="late, duplicated, malformed, drifting or missing rows on a day, YYYY-MM-DD; repeatable",
    )
    parser.set_defaults(verb=_demo_world)


def _demo_world(chosen: argparse.Namespace) -> int:
    from modit.data.demo import DemoFault, DemoParameters, write_demo_world

    parameters = DemoParameters(
        items=chosen.items,
        domains=chosen.domains,
        seed=chosen.seed,
        dimension=chosen.dimension,
        days=chosen.days,
        shared_direction=chosen.shared_direction,
    )
    written = write_demo_world(chosen.out, parameters, [DemoFault.parse(text) for text in chosen.fault])
    print(f"{chosen.out}: {'written' if written else 'the same demo world is there already, nothing to do'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
