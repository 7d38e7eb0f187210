"""Arrays in an `npz` file whose bytes follow from the arrays alone."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt


def save_arrays(path: Path, **arrays: npt.ArrayLike) -> None:
    """Writes what `np.load` reads.

    `np.savez` leaves the headers to Python's `zipfile`, whose bytes differ between patch releases (3.11.2 and 3.11.7),
    so that equal runs would have other digests on another host or in another image.

    Args:
        path: the file, with its suffix.
        arrays: name -> numbers or texts; each under 4 GiB.

    Raises:
        ValueError: an array holds Python objects.
    """
    with zipfile.ZipFile(path, "w") as archive:
        for name, values in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, np.asanyarray(values), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), content.getvalue())
