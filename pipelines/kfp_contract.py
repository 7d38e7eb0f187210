"""What the pipeline's definition and its tasks agree on. Standard library only: the tasks' containers have no kfp."""

from __future__ import annotations

# Parameters of the pipeline, which every task gets; `pipelines.kfp_task.run_conf` reads them.
RUN_PARAMETERS: dict[str, type] = {
    "catalogue": str,
    "run_root": str,
    "run": str,
    "domains": str,
    "seed": int,
    "preset": str,
    "overrides": dict,
    "window": str,
}
# The parameters of a task of one domain, and of one that shares the items with others.
DOMAIN, SHARD = "domain", "shard"
# Output parameters: of the step that decides the domains, and of the first step, which may find nothing new.
ELIGIBLE_DOMAINS, OUTCOME = "eligible_domains", "outcome"
# The output parameter with an artifact's digest, where steps of a later loop read the artifact.
DIGEST = "{artifact}_digest"
