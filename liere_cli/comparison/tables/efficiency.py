"""Learning curves against the baseline's, where the recipe asks for them."""

from collections.abc import Mapping, Sequence

from liere_cli.comparison.tables.learning_curves import metrics_problem, read_curve
from liere_cli.comparison.tables.shared_seeds import shared_seeds
from liere_cli.comparison.tables.table import DatasetTable
from liere_cli.planning.plan import DatasetPlan, Plan, PlannedEncoding
from liere_cli.planning.progress import Outcome
from liere_cli.statistics.learning_curves import Efficiency, efficiency, judge_efficiency


def efficiencies(
    plan: Plan, tables: Sequence[DatasetTable], outcomes: Mapping[str, Outcome]
) -> list[tuple[Efficiency, ...]]:
    """Every encoding's efficiency, for each data set; judged together.

    Args:
        tables: of the plan's data sets, in order.
        outcomes: of the plan's runs, by identity.

    Returns:
        A tuple for each data set, empty if the recipe doesn't set ``compare.efficiency``.
    """
    if not plan.compare.efficiency:
        return [() for _ in tables]
    rows, upwards, indices = [], [], []
    for index, table in enumerate(tables):
        planned = {row.label: row for row in plan.datasets[index].encodings}
        for row in table.rows:
            if table.baseline is None or row.is_baseline or row.undefined is not None:
                continue
            pair = (planned[row.encoding], planned[table.baseline])
            rows.append(_efficiency(plan, pair, table.higher_is_better, outcomes))
            upwards.append(table.higher_is_better)
            indices.append(index)
    judged = judge_efficiency(rows, upwards, plan.interim)
    return [
        tuple(row for row, at in zip(judged, indices, strict=True) if at == index)
        for index in range(len(tables))
    ]


def unreadable_curves(dataset: DatasetPlan, outcomes: Mapping[str, Outcome]) -> list[str]:
    """A warning for every finished run whose metrics can't be read."""
    return [
        f"{row.label}, seed {run.seed}: metrics.jsonl is {problem}, so learning curves leave it out"
        for row in dataset.encodings
        for run in row.runs
        if outcomes[run.run_id].state == "finished" and (problem := metrics_problem(run.run))
    ]


def _efficiency(
    plan: Plan,
    pair: tuple[PlannedEncoding, PlannedEncoding],
    higher_is_better: bool,
    outcomes: Mapping[str, Outcome],
) -> Efficiency:
    """An encoding against its baseline at the seeds at which both have curves."""
    ours, theirs = ({run.seed: run.run for run in row.runs} for row in pair)
    curves = []
    for seed in shared_seeds(plan, pair, outcomes):
        curve, reference = (read_curve(runs[seed], higher_is_better) for runs in (ours, theirs))
        if curve is not None and reference is not None:
            curves.append((curve, reference))
    return efficiency(pair[0].label, curves, higher_is_better)
