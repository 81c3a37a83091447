"""Arrays in files that are larger than memory."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from liere_cli.data.base import Array


@contextmanager
def growing_array(path: Path, dtype: np.dtype[Any]) -> Iterator[Callable[[Array], None]]:
    """A function that appends values [n] to a new ``.npy`` file of one axis, whose final length is
    written at the end. Raises OSError.
    """
    count = 0
    # NumPy leaves space in headers, so that a length of any number of digits fits
    with path.open("xb") as file:
        _write_header(file, dtype, 0)

        def append(values: Array) -> None:
            nonlocal count
            count += len(values)
            file.write(np.ascontiguousarray(values, dtype).data)

        yield append
        file.seek(0)
        _write_header(file, dtype, count)


def _write_header(file: Any, dtype: np.dtype[Any], count: int) -> None:
    header = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": (count,),
    }
    np.lib.format.write_array_header_1_0(file, header)
