"""`python -m pipelines.kfp_local`: runs the pipeline's containers on this machine, with `kfp.local.DockerRunner`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from docker.types import Mount
from kfp import local

from components.registry import REGISTRY
from modit.core.machine import threads_of_a_task
from modit.core.names import PRESETS
from pipelines.kfp_platform import add_platform_arguments, platform_of
from pipelines.kfp_view import IMAGE_KINDS, kfp_pipeline

# What KFP keeps of the tasks: references, and what they said.
KFP_FOLDER = ".kfp"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the whole job.

    Args:
        arguments: the command line without the program's name; that of the process if None.

    Returns:
        0, or 1 when a task failed.
    """
    chosen = _parse(arguments)
    domains = sorted(set(chosen.domains.split(",")))
    catalogue, run_root = chosen.catalogue.resolve(), chosen.run_root.resolve()
    run_root.mkdir(parents=True, exist_ok=True)
    platform = platform_of(chosen, IMAGE_KINDS)
    runner = docker_runner([catalogue], [run_root], platform.environment)
    local.init(runner, str(run_root / KFP_FOLDER))
    pipeline = kfp_pipeline(REGISTRY.of(chosen.pipeline), platform, domains)
    try:
        pipeline(
            catalogue=str(catalogue),
            run_root=str(run_root),
            run=chosen.run,
            domains=",".join(domains),
            seed=chosen.seed,
            preset=chosen.preset,
            overrides=json.loads(chosen.overrides),
            window=chosen.window,
        )
    except RuntimeError as error:
        print(f"FAILED: {error}", file=sys.stderr)
        return 1
    return 0


def docker_runner(read: Sequence[Path], written: Sequence[Path], environment: Mapping[str, str]) -> local.DockerRunner:
    """Containers that see these folders under their own paths, and write as the caller.

    Args:
        read: folders that the steps read.
        written: folders that they write into.
        environment: further variables; kfp.local leaves out those of the compiled tasks.
    """
    mounts = [Mount(str(path), str(path), "bind", read_only=path in read) for path in (*read, *written)]
    # Other kernels round otherwise.
    kernels = {name: os.environ[name] for name in ("OPENBLAS_CORETYPE",) if name in os.environ}
    # The caller has no home in the container.
    given = {"HOME": "/tmp", "OMP_NUM_THREADS": str(threads_of_a_task()), **kernels, **environment}
    return local.DockerRunner(mounts=mounts, user=f"{os.getuid()}:{os.getgid()}", environment=given)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m pipelines.kfp_local", description=__doc__)
    parser.add_argument("--pipeline", help="name of the pipeline (default: the first that is declared)")
    parser.add_argument("--catalogue", type=Path, required=True, help="folder in the input contract")
    parser.add_argument("--run-root", type=Path, required=True, help="folder of runs")
    parser.add_argument("--run", required=True, help="name of the run; the same again resumes")
    parser.add_argument(
        "--domains", required=True, help="names with commas between; kfp.local cannot learn them from a step"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--preset", choices=PRESETS, default="small")
    parser.add_argument("--overrides", default="{}", metavar="JSON", help="over the preset")
    parser.add_argument("--window", default="", help="days START:END, the end not included; empty: everything")
    add_platform_arguments(parser)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
