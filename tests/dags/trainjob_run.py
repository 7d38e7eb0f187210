"""Runs `pretrain` as a TrainJob whose machines are processes, in a fresh interpreter, and prints its result."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

from trainer_double import Cluster, processes  # this folder's, beside this script


def main(folder: Path, run: str, conf: str) -> None:
    with Cluster(processes(folder)) as cluster:
        cluster.connect(folder)
        from components.registry import REGISTRY
        from dags.executors.trainjob import TrainJobStep

        arguments = TrainJobStep.arguments_for(REGISTRY.get("pretrain"))
        task = TrainJobStep(task_id="pretrain", step="pretrain", run_uri=run, conf=conf, **arguments)
        instance = SimpleNamespace(dag_id="night", run_id="manual", task_id="pretrain", map_index=-1)
        print(json.dumps(task.execute({"ti": instance})))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
