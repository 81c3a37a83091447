"""Data frames for those who have pandas."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from liere_cli.errors import LiereError

if TYPE_CHECKING:
    import pandas as pd


def data_frame(records: Sequence[dict[str, Any]]) -> "pd.DataFrame":
    """One row a record.

    Raises:
        LiereError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ModuleNotFoundError:
        raise LiereError(
            "a data frame needs pandas, which is not installed; install it with pip install pandas"
        ) from None
    return pd.DataFrame.from_records(records)
