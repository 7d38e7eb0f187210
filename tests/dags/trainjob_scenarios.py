"""Runs the TrainJobs of `test_trainjob.py` against a cluster in a fresh interpreter, and prints what came out."""

import json
import sys
import threading
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

from trainer_double import Cluster  # this folder's, beside this script

LINE = '{"digest":"abc","status":"ran","step":"pretrain"}'


def well(body, log, deleted):
    log("pretrain: step 1 of 2, loss 0.5")
    log(LINE)
    return 0, LINE


def refuses(body, log, deleted):
    return 3, "pretrain: ConfigError: field seed is 5, --conf says 6"


def breaks(body, log, deleted):
    return 1, "connection closed by peer"


def needs_more_memory(body, log, deleted):
    return 4, "pretrain: OutOfMemoryError"


def never_ends(body, log, deleted):
    log("pretrain: step 1 of 2, loss 0.5")
    deleted.wait(60)
    return 143, "Terminated"


def main(folder: Path) -> None:
    with Cluster(well) as cluster:
        cluster.connect(folder)
        print(json.dumps(scenarios(cluster)))


def scenarios(cluster: Cluster) -> dict[str, object]:
    from components.registry import REGISTRY
    from dags.executors import operator_of, trainjob

    trainjob._POLL_SECONDS = 0.1
    step, found = REGISTRY.get("pretrain"), {}

    def task(**more):
        arguments = trainjob.TrainJobStep.arguments_for(step)
        conf = {"step": step.name, "run_uri": "s3://bucket/runs/a", "conf": "{}", **more}
        return trainjob.TrainJobStep(task_id="pretrain", **conf, **arguments)

    def outcome(operator, run="manual", machines=well):
        cluster.machines = machines
        context = {"ti": SimpleNamespace(dag_id="night", run_id=run, task_id="pretrain", map_index=-1)}
        try:
            return operator.execute(context)
        except Exception as error:
            return f"{type(error).__name__}: {error}"

    found["classes"] = {each.name: operator_of("kubernetes", each).__name__ for each in REGISTRY.steps}
    found["well"] = outcome(task(execution_timeout=timedelta(hours=2), domain="quality"))
    found["jobs_after_success"] = list(cluster.jobs)
    found["refused"] = outcome(task(), "refused", refuses)
    found["broken"] = outcome(task(), "broken", breaks)
    found["large"] = outcome(task(), "large", needs_more_memory)
    found["broken_jobs"] = sorted(cluster.jobs)
    found["again"] = outcome(task(), "broken")  # the same task's next attempt
    found["jobs_after_second_attempt"] = sorted(cluster.jobs)

    def kill_when_it_runs(operator):
        while not any(job.lines for job in cluster.jobs.values() if not job.over.is_set()):
            pass_time.wait(0.05)
        operator.on_kill()

    pass_time = threading.Event()
    lost = task()
    killer = threading.Thread(target=kill_when_it_runs, args=(lost,))
    killer.start()
    found["killed"] = outcome(lost, "killed", never_ends)
    killer.join()
    found["jobs_after_kill"] = sorted(cluster.jobs)

    release = threading.Event()

    def slow(body, log, deleted):
        release.wait(60)
        return well(body, log, deleted)

    dies = task()  # a worker that starts the job and is gone; a second one comes while it runs
    dies._follow = lambda: (_ for _ in ()).throw(RuntimeError("the worker died"))
    outcome(dies, "adopted", slow)
    assert len(cluster.created) == 7
    threading.Timer(0.5, release.set).start()
    found["adopted"] = outcome(task(), "adopted", breaks)
    found["created"], found["asked"] = cluster.created, sorted(cluster.asked)
    found["selectors"] = sorted(cluster.selectors)
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]))
