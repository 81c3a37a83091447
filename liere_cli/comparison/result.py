"""What a comparison came to."""

from collections.abc import Mapping
from dataclasses import dataclass

from liere_cli.comparison.tables.build import ComparisonTable
from liere_cli.planning.plan import Plan
from liere_cli.planning.progress import Outcome


@dataclass(frozen=True)
class ComparisonResult:
    """The runs of a comparison, how each ended, and the tables.

    Args:
        outcomes: of every run of the plan, by identity.
    """

    plan: Plan
    outcomes: Mapping[str, Outcome]
    table: ComparisonTable
