"""Measures what orchestration costs: the whole job by an executor against its steps in a loop of one Python process.

PYTHONPATH=src:. python benchmarks/bench_orchestration.py [--preset tiny] [--rounds 3] [--with docker,kfp]

The same run configuration each time, in a folder of its own, so that nothing is reused; ways alternate, the least of
some rounds counts. `process` is what `make run` does: `airflow dags test`, a task after the other. Processor seconds of
all processes are given beside those of the clock, for machines that have other things to do. Containers are asked of
the engine under the names of MODIT_IMAGES; their processor seconds are not ours to see.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parent.parent
DOMAINS = {"tiny": 2}
ITEMS = {"tiny": 5_000}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", choices=("tiny", "small"), default="tiny")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--with", dest="more", default="", help="docker, kfp: with commas between")
    parser.add_argument("--steps", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--world", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.steps:
        run_steps(chosen.steps, chosen.world, chosen.preset)
        return
    ways = ["steps", "process", *filter(None, chosen.more.split(","))]
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, preset {chosen.preset}\n")
    with tempfile.TemporaryDirectory(prefix="modit-") as folder:
        Path(folder).chmod(0o755)
        report(measure(Path(folder), chosen.preset, ways, chosen.rounds), ways)


def measure(folder: Path, preset: str, ways: list[str], rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Seconds of the clock and of processors, by way, of each round."""
    from modit.data.demo import DemoParameters, write_demo_world

    world = folder / "world"
    write_demo_world(world, DemoParameters(items=ITEMS.get(preset, 20_000), domains=DOMAINS.get(preset, 3)))
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for number in range(rounds):
        for way in ways if number % 2 == 0 else reversed(ways):
            runs = folder / f"{way}-{number}"
            runs.mkdir()
            runs.chmod(0o777)  # the images' user may be another one
            found[way].append(timed(way, COMMANDS[way](runs, world, preset), runs, world))
            print(f"{way}: {found[way][-1][0]:.1f} s, {found[way][-1][1]:.1f} of processors", file=sys.stderr)
    return found


def timed(way: str, command: list[str], runs: Path, world: Path) -> tuple[float, float]:
    """Runs a command to its end."""
    environment = {
        **{name: value for name, value in os.environ.items() if name == "MODIT_IMAGES" or name[:6] != "MODIT_"},
        "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(os.cpu_count())),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PYTHONWARNINGS": "ignore",
        "MODIT_EXECUTOR": "docker" if way == "docker" else "process",
        "MODIT_DOCKER_VOLUMES": f"{runs},{world}",
    }
    if os.getuid():  # root's containers are the image's user: no step runs as root
        environment["MODIT_DOCKER_USER"] = f"{os.getuid()}:{os.getgid()}"
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    log = runs.with_suffix(".log")
    with log.open("w") as output:
        done = subprocess.run(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        sys.exit(f"{way} failed:\n{log.read_text()[-3000:]}")
    seconds, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _loop(runs: Path, world: Path, preset: str) -> list[str]:
    return [sys.executable, __file__, "--steps", str(runs / "one"), "--world", str(world), "--preset", preset]


def _launch(runs: Path, world: Path, preset: str) -> list[str]:
    options = {"catalog": world, "preset": preset, "runs": runs, "run": "one"}
    words = (word for name in options for word in (f"--{name}", str(options[name])))
    return [sys.executable, "-m", "dags.launch", *words]


def _kfp(runs: Path, world: Path, preset: str) -> list[str]:
    columns = pq.read_schema(next(world.rglob("items*.parquet"))).names
    names = [column.removeprefix("attr_") for column in columns if column.startswith("attr_")]
    options = {"catalogue": world, "preset": preset, "run-root": runs, "run": "one", "domains": ",".join(names)}
    words = (word for name in options for word in (f"--{name}", str(options[name])))
    return [sys.executable, "-m", "pipelines.kfp_local", *words]


COMMANDS: dict[str, Callable[[Path, Path, str], list[str]]] = {
    "steps": _loop,
    "process": _launch,
    "docker": _launch,
    "kfp": _kfp,
}


def run_steps(run: Path, world: Path, preset: str) -> None:
    """All steps in this process, in the order in which the DAG's tasks run."""
    from components.registry import REGISTRY
    from modit.core.output import set_up_logging
    from modit.core.runner import StepRunner

    set_up_logging()
    conf = {"catalogue": str(world), "domains": "all", "seed": 0, "preset": preset}
    for step in REGISTRY.of("retrain").steps:
        runner = StepRunner(REGISTRY, str(run), ROOT / "params.yaml", conf)
        for domain in runner.domains() if step.per_domain else [None]:
            runner.execute(step.name, domain)


def report(found: dict[str, list[tuple[float, float]]], ways: list[str]) -> None:
    print("| way | seconds (of processors) | over the steps alone |")
    print("|---|---|---|")
    best = {way: tuple(min(values) for values in zip(*found[way], strict=True)) for way in ways}
    for way in ways:
        seconds, cpu = best[way]
        over, cpu_over = seconds / best["steps"][0] - 1, cpu / best["steps"][1] - 1
        print(f"| {way} | {seconds:.1f} ({cpu:.1f}) | {over:+.1%} ({cpu_over:+.1%}) |")


if __name__ == "__main__":
    main()
