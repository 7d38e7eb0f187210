"""The command line that runs one step; `components/__main__.py` gives it the registry."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

from modit.core.errors import ModitError, TransientError, UpstreamFailedError
from modit.core.memory import ran_out_of_memory
from modit.core.output import set_up_logging
from modit.core.registry import Registry
from modit.core.run_config import json_object
from modit.core.runner import StepRunner, Team
from modit.core.step import WHOLE, Shard

# Exit statuses. What failed outside may work the next time.
FAILED = 1
# A refusal: trying again changes nothing. Orchestrators do not retry on it.
REFUSED = 3
# There was too little memory. The next attempt takes its batches in twice as many parts (docs/adr/0021).
OUT_OF_MEMORY = 4
# The task was not run, because one that it depends on has failed.
UPSTREAM_FAILED = 5


def main(registry: Registry, arguments: Sequence[str] | None = None, team: Team | None = None) -> int:
    """Runs one step; the last line on stdout is a JSON object with status, addresses and digests.

    Args:
        registry: the steps.
        arguments: the command line without the program's name; that of the process if None.
        team: the processes that run the step together; only the first prints.

    Returns:
        0, or 3 after an error that names what to change; 2 for a wrong command line, 4 when it ran out of memory, 5
        when a task before it failed, 1 for a failure that trying again may cure, or that nobody foresaw.
    """
    chosen = _parser(registry).parse_args(arguments)
    set_up_logging()
    with _ended_by_sigterm():
        return _run(registry, chosen, team)


def _run(registry: Registry, chosen: argparse.Namespace, team: Team | None) -> int:
    try:
        conf = json_object(chosen.conf) if chosen.conf is not None else None
        runner = StepRunner(registry, chosen.run, chosen.params, conf, team)
        logging.getLogger().setLevel("ERROR" if runner.team.rank else runner.params.runner.log_level)
        if chosen.why:
            lines = runner.why(chosen.step, chosen.domain, force=chosen.no_cache)
        else:
            shard = Shard.parse(chosen.shard)
            lines = [runner.execute(chosen.step, chosen.domain, shard, force=chosen.no_cache).as_json()]
            if chosen.result and not runner.team.rank:
                chosen.result.write_text(lines[0] + "\n", encoding="utf-8")
    except ModitError as error:
        print(f"{chosen.step}: {type(error).__name__}: {error}", file=sys.stderr)
        if ran_out_of_memory(error):
            return OUT_OF_MEMORY
        if isinstance(error, UpstreamFailedError):
            return UPSTREAM_FAILED
        return FAILED if isinstance(error, TransientError) else REFUSED
    except Exception as error:
        if not ran_out_of_memory(error):
            raise
        traceback.print_exc()
        print(f"{chosen.step}: out of memory; the next attempt takes its batches in more parts", file=sys.stderr)
        return OUT_OF_MEMORY
    # What the step printed comes before, also where both streams end in one file.
    sys.stderr.flush()
    if not runner.team.rank:
        print(*lines, sep="\n", flush=True)
    return 0


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Lets SIGTERM end the step as an error would, also the first process of a container, which else ignores it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _parser(registry: Registry) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m {registry.package}", description="Run one step of a run.")
    parser.add_argument("step", choices=[step.name for step in registry.steps], metavar="STEP", help="which step")
    parser.add_argument("--run", required=True, metavar="URI", help="the run's folder: a path or an address like s3://")
    parser.add_argument("--domain", metavar="D", help="for a step that runs per domain")
    parser.add_argument("--shard", metavar="I/N", default=str(WHOLE), help="the I-th of N tasks that share the items")
    parser.add_argument("--conf", metavar="JSON", help="catalogue, domains, seed, preset, overrides: makes run.json")
    parser.add_argument("--result", type=Path, metavar="FILE", help="write the last line of the output here, too")
    parser.add_argument("--no-cache", action="store_true", help="run the step even if nothing has changed")
    parser.add_argument("--why", action="store_true", help="say why it is cached or would run, and do nothing")
    default = Path(os.environ.get("MODIT_PARAMS", "params.yaml"))
    parser.add_argument("--params", type=Path, default=default, metavar="FILE", help="default: %(default)s")
    return parser
