import json
import os
import signal
import time

from modit.core.errors import InsufficientDataError
from modit.core.memory import at_once
from modit.core.seeds import stream
from toysteps.grow.arithmetic import bigger


def run(context):
    """Counts in scratch how often it was started; with TOY_PAUSE set it waits in the middle, to be killed there.

    TOY_BYTES is what it takes up in memory, as much at once as it may; with TOY_FAILS it fails; it refuses
    the domain TOY_REFUSES, and is killed for the domain TOY_KILLED.
    """
    numbers = json.loads((context.input("parts") / f"{context.domain}.json").read_text())
    starts = context.scratch / "starts"
    starts.write_text(starts.read_text() + "x" if starts.exists() else "x")
    bytearray(at_once(int(os.environ.get("TOY_BYTES", "1"))))
    if "TOY_FAILS" in os.environ:
        raise RuntimeError("something else")
    if os.environ.get("TOY_REFUSES") == context.domain:
        raise InsufficientDataError("too few numbers")
    if os.environ.get("TOY_KILLED") == context.domain:
        os.kill(os.getpid(), signal.SIGKILL)
    target = context.output("grown")
    noise = stream(context.seed, "grow", context.domain).random(3).tolist()
    (target / "first.json").write_text(json.dumps(noise))
    if "TOY_PAUSE" in os.environ:
        (target / "garbage").write_text("left by a killed process")
        print("paused", flush=True)
        time.sleep(60)
    (target / "second.json").write_text(json.dumps([bigger(n, context.params.pretrain.steps) for n in numbers]))
    return {"starts": len(starts.read_text())}
