"""`python -m pipelines.kfp_view NAME`: compiles a pipeline for Kubeflow Pipelines into `pipelines/NAME.yaml`.

With `--check` it changes nothing and tells whether the committed file is current.
"""

# KFP reads annotations as they stand, so they may not be postponed here.
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kfp import compiler, dsl

from components.registry import REGISTRY
from modit.core.registry import Registry
from pipelines import view_parser, write_or_check
from pipelines.kfp_graph import LoopedGraph, UnrolledGraph
from pipelines.kfp_platform import RUN_PARAMETERS, Platform, add_platform_arguments, platform_of

FOLDER = Path(__file__).resolve().parent
HEADER = "# Made from the steps' declarations by `make pipelines/{}.yaml`; edit those. See the guide on Kubeflow.\n"
IMAGE_KINDS = tuple(sorted({step.image for step in REGISTRY.steps}))


def kfp_pipeline(registry: Registry, platform: Platform, unrolled: Sequence[str] = ()) -> Any:
    """Returns a pipeline, for KFP's compiler and for `kfp.local`.

    Args:
        registry: the steps of one pipeline, ordered.
        platform: what to compile for.
        unrolled: domains that each get tasks of their own, as `kfp.local` needs it; none: loops over those that the
            run decides.
    """

    def pipeline(
        catalogue: str,
        run_root: str,
        run: str,
        domains: str = "all",
        seed: int = 0,
        preset: str = "small",
        overrides: dict = {},  # noqa: B006 (KFP takes the default from here)
        window: str = "",
    ) -> None:
        """DESCRIPTION

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

    declared = registry.pipeline()
    pipeline.__doc__ = (pipeline.__doc__ or "").replace("DESCRIPTION", declared.description)
    return dsl.pipeline(pipeline, name=job_name(declared.name))


def job_name(pipeline: str) -> str:
    """Returns the name of a pipeline on a server of Kubeflow Pipelines."""
    return f"modit-{pipeline.replace('_', '-')}"


def compiled(pipeline: Any) -> str:
    """The pipeline's definition, YAML."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "pipeline.yaml")
        compiler.Compiler().compile(pipeline, str(file))
        return file.read_text(encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Compiles a pipeline to a file, or checks the committed one; returns the exit status."""
    parser = view_parser("kfp_view", __doc__)
    names = [each.name for each in REGISTRY.pipelines]
    parser.add_argument("pipeline", choices=names, metavar="NAME", help=f"of {', '.join(names)}")
    parser.add_argument("--out", type=Path, help="file to write (default: the committed one)")
    add_platform_arguments(parser)
    chosen = parser.parse_args(arguments)
    platform = platform_of(chosen, IMAGE_KINDS)
    text = HEADER.format(chosen.pipeline) + compiled(kfp_pipeline(REGISTRY.of(chosen.pipeline), platform))
    file = chosen.out or FOLDER / f"{chosen.pipeline}.yaml"
    return write_or_check(file, text, f"pipelines/{chosen.pipeline}.yaml", check=chosen.check)


if __name__ == "__main__":
    sys.exit(main())
