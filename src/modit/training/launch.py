"""torchrun that ends as its processes do: `python -m modit.training.launch [its options] -m -- components STEP ...`.

torchrun itself ends with 1 whatever happened; an orchestrator must tell a refusal, which it does not retry, from a
failure. What is not given as an option is read from PET_NNODES, PET_NODE_RANK and so on, as Kubeflow Trainer sets them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main as torchrun


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs torchrun.

    Args:
        arguments: torchrun's; those of the process if None.

    Returns:
        0, or the highest exit status of a process of this machine; 1 where all that failed were ended by signals.
    """
    try:
        torchrun(None if arguments is None else list(arguments))
    except ChildFailedError as error:
        print(error, file=sys.stderr)
        # The first process says why; the others only lose their connection to it, which is status 1.
        return max([1, *(failure.exitcode for failure in error.failures.values())])
    return 0


if __name__ == "__main__":
    sys.exit(main())
