"""Rows of dataclasses as data frames."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from liere_cli.errors import LiereError

if TYPE_CHECKING:
    import pandas as pd


def data_frame(records: Iterable[object]) -> "pd.DataFrame":
    """The data frame of dataclasses, one row each; raises LiereError without pandas."""
    try:
        import pandas as pd
    except ModuleNotFoundError:
        raise LiereError(
            "a data frame needs pandas, which is not installed; install it with pip install pandas"
        ) from None
    return pd.DataFrame.from_records([vars(record) for record in records])
