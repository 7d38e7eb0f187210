"""`python -m infra.images lock|wheels|build`: locks of the images, their wheelhouse, the images themselves."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "infra" / "locks"
WHEELS = ROOT / "build" / "wheels"
# What each image installs: extras of modit, or requirements of its own.
PACKAGES = {
    # monitor: `modit exporter` runs from the smallest image
    "data": [".[validation,monitor,s3]"],
    "train": [".[torch,index,pgvector,text,s3]"],
    # redis needs async-timeout on Python before 3.11.3, which is Debian's, and the lock may be made by a later one
    # mlflow, because publishing asks the registry which versions are in use
    "features": [".[features,registry,s3]", "async-timeout"],
    # boto3 for the files of `mlflow server`, which runs from this image
    "release": [".[torch,index,pgvector,release,report,search,versioning,s3]", "boto3"],
    "serve": [".[features,pgvector,serve,s3]", "async-timeout"],
    "airflow": [
        "apache-airflow>=3.3",
        "apache-airflow-providers-apprise",
        "apache-airflow-providers-standard",
        "apache-airflow-providers-docker",
        "apache-airflow-providers-cncf-kubernetes",
        # its database on PostgreSQL, and its metrics
        "asyncpg",
        "psycopg2-binary",
        "statsd",
    ],
}
# Images that have a variant for accelerators: its target and lock. It has the name of the image that it replaces.
CUDA = {"train": "train-cuda"}
# PyPI's own torch holds the CUDA build; === keeps a local build, 2.13.0+cpu, from being taken for it.
VARIANTS = {"train-cuda": [*PACKAGES["train"], "torch===2.13.0"]}
# What `make run` installs into .venv, and `modit serve` after it; `make test` adds all of constraints.txt.
RUN = [".[train,index,features,release,serve,report,search,text,validation,versioning,airflow,monitor,s3]"]
HEADER = "# What {what} installs; made by `make locks`.\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Does one of the three things for the images that are named.

    Args:
        arguments: the command line without the program's name; that of the process if None.

    Returns:
        0.

    Raises:
        subprocess.CalledProcessError: pip or docker failed; it has said why.
    """
    parser = argparse.ArgumentParser(prog="python -m infra.images", description=__doc__)
    parser.add_argument("action", choices=["lock", "wheels", "build"])
    parser.add_argument("images", nargs="*", metavar="IMAGE", help=f"of {', '.join(PACKAGES)}; all if none is named")
    parser.add_argument("--cuda", action="store_true", help="the variant for accelerators, of images that have one")
    parser.add_argument("--base", help="image to build on, with Python 3.11 or apt; default: see infra/Dockerfile")
    parser.add_argument("--tag", default="modit/{image}:dev", help="names of the images (default %(default)s)")
    chosen = parser.parse_args(arguments)
    allowed = [*PACKAGES, "run"] if chosen.action == "lock" else list(PACKAGES)
    if unknown := sorted(set(chosen.images) - set(allowed)):
        parser.error(f"no image {', '.join(unknown)}; allowed: {', '.join(allowed)}")
    for image in chosen.images or PACKAGES:
        target = CUDA.get(image, image) if chosen.cuda else image
        if chosen.action == "build":
            build(target, chosen.tag.format(image=image), chosen.base)
        else:
            {"lock": lock, "wheels": wheels}[chosen.action](target)
    return 0


def lock(image: str) -> None:
    """Resolves the packages of an image, or of `run`, under constraints.txt and writes `infra/locks/IMAGE.txt`.

    Torch is not in the lock of `run`: pip takes the build that the machine is set up for, of the pinned version.
    """
    command = [*_pip("install"), "--dry-run", "--ignore-installed", "--report", "-", "-c", "constraints.txt"]
    found = subprocess.run(
        [*command, *(PACKAGES | VARIANTS | {"run": RUN})[image]], cwd=ROOT, check=True, stdout=subprocess.PIPE
    ).stdout
    names = [each["metadata"] for each in json.loads(found)["install"]]
    left_out = {"modit", "torch"} if image == "run" else {"modit"}
    pins = sorted(_pin(each["name"].lower(), each["version"]) for each in names if each["name"] not in left_out)
    LOCKS.mkdir(exist_ok=True)
    what = "`make run`, without torch," if image == "run" else f"the image {image}"
    (LOCKS / f"{image}.txt").write_text(HEADER.format(what=what) + "\n".join(pins) + "\n", encoding="utf-8")


def _pin(name: str, version: str) -> str:
    # Only torch comes in builds that == does not tell apart.
    return f"{name}==={version}" if name == "torch" else f"{name}=={version}"


def wheels(image: str) -> None:
    """Fills the wheelhouse with what an image's lock names, by this machine's pip and its settings."""
    WHEELS.mkdir(parents=True, exist_ok=True)
    subprocess.run([*_pip("wheel"), "--no-deps", "-w", WHEELS, "-r", LOCKS / f"{image}.txt"], cwd=ROOT, check=True)


def build(target: str, tag: str, base: str | None) -> None:
    """Builds a target of the Dockerfile by the Docker that is there."""
    arguments = {"CODE_COMMIT": _code_commit(), **({"BASE_IMAGE": base} if base else {})}
    given = [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
    command = [
        "docker",
        "build",
        "--quiet",
        "--file",
        "infra/Dockerfile",
        "--target",
        target,
        "--tag",
        tag,
        *given,
        ".",
    ]
    subprocess.run(command, cwd=ROOT, check=True)


def _pip(command: str) -> list[str]:
    return [sys.executable, "-m", "pip", command, "--quiet", "--disable-pip-version-check"]


def _code_commit() -> str:
    sys.path.append(str(ROOT / "src"))
    from modit.release.versioning.code_state import code_state

    return os.environ.get("MODIT_CODE_COMMIT") or str(code_state(ROOT))


if __name__ == "__main__":
    sys.exit(main())
