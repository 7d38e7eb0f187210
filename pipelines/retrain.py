"""`python -m pipelines.retrain`: compiles the main job for Kubeflow Pipelines; `--check` tells if that is current."""

# KFP reads annotations as they stand, so they may not be postponed here.
import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kfp import compiler, dsl

from components.registry import REGISTRY
from modit.core.registry import Registry
from pipelines.kfp_contract import RUN_PARAMETERS
from pipelines.kfp_graph import LoopedGraph, UnrolledGraph
from pipelines.kfp_platform import Platform, add_platform_arguments, platform_of
from pipelines.made_file import add_check, write_or_check

FILE = Path(__file__).resolve().with_suffix(".yaml")
NAME = "modit-retrain"
HEADER = (
    "# Made from the steps' declarations by `make pipelines/retrain.yaml`; edit those. "
    "See docs/how-to/run-on-kubeflow.md.\n"
)
IMAGE_KINDS = tuple(sorted({step.image for step in REGISTRY.steps}))


def retrain_pipeline(registry: Registry, platform: Platform, unrolled: Sequence[str] = ()) -> Any:
    """The pipeline, for KFP's compiler and for `kfp.local`.

    Args:
        registry: the steps, ordered.
        platform: what to compile for.
        unrolled: domains that each get tasks of their own, as `kfp.local` needs it; none: loops over those that the
            run decides.
    """

    def retrain(
        catalogue: str,
        run_root: str,
        run: str,
        domains: str = "all",
        seed: int = 0,
        preset: str = "small",
        overrides: dict = {},  # noqa: B006 (KFP takes the default from here)
        window: str = "",
    ) -> None:
        """From input files to a judged and exported query generator.

        Args:
            catalogue: Folder in the input contract, an address that the tasks' containers can read.
            run_root: Where runs live, a path on a shared volume or s3://bucket/prefix.
            run: The run's folder below run_root. The same name again resumes.
            domains: 'all', or the names of the attribute domains to take with commas between.
            seed: Same seed, same bytes.
            preset: Size preset of params.yaml.
            overrides: Over the preset, such as {"pretrain.steps": 100}.
            window: Days START:END or :END of dated logs, the end not included; empty reads everything.
        """
        parameters = {name: value for name, value in locals().items() if name in RUN_PARAMETERS}
        if unrolled:
            UnrolledGraph(registry, platform, parameters).add_tasks(unrolled)
        else:
            LoopedGraph(registry, platform, parameters).add_tasks()

    return dsl.pipeline(retrain, name=NAME)


def compiled(pipeline: Any) -> str:
    """The pipeline's definition, YAML."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "pipeline.yaml")
        compiler.Compiler().compile(pipeline, str(file))
        return file.read_text(encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Compiles to a file, or checks the committed one.

    Args:
        arguments: the command line without the program's name; that of the process if None.

    Returns:
        0, or 1 when `--check` finds another content.
    """
    parser = argparse.ArgumentParser(prog="python -m pipelines.retrain", description=__doc__)
    add_check(parser)
    parser.add_argument("--out", type=Path, default=FILE, help="file to write (default: the committed one)")
    add_platform_arguments(parser)
    chosen = parser.parse_args(arguments)
    platform = platform_of(chosen, IMAGE_KINDS)
    text = HEADER + compiled(retrain_pipeline(REGISTRY, platform))
    return write_or_check(chosen.out, text, "pipelines/retrain.yaml", check=chosen.check)


if __name__ == "__main__":
    sys.exit(main())
