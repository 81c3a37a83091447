"""The signature of a comparison: one line, in the manner of sacreBLEU."""

import json
from collections.abc import Mapping, Sequence

from liere_cli.planning.plan import Plan, RecipePlan
from liere_cli.planning.tuning_result import grid_text
from liere_cli.statistics.correction import ALPHA, HOLM
from liere_cli.statistics.sequential import SPENDING, InterimAnalyses
from liere_cli.statistics.spread import PRIOR_FREEDOM
from liere_cli.statistics.verdicts import Verdict, count_comparisons
from liere_cli.utils.files import digest_of

#: which value of a run is compared: the test split, with the weights after the last step
VALUE = "test"


def signature(
    plan: Plan, verdicts: Sequence[Verdict], versions: Mapping[str, Sequence[str]]
) -> str:
    """A line that identifies a comparison's runs and how its p-values were computed."""
    runs = [
        [dataset.baseline, dataset.margin, sorted(run.run_id for run in dataset.runs)]
        for dataset in plan.datasets
    ]
    digest = digest_of(json.dumps(runs), 12)
    kind = "recipe" if isinstance(plan, RecipePlan) else "runs"
    parts = {
        kind: f"{plan.experiment}@{digest}".lstrip("@"),
        "data": ",".join(f"{dataset.data}@{dataset.fingerprint}" for dataset in plan.datasets),
        "budget": ",".join(dict.fromkeys(dataset.budget.text for dataset in plan.datasets)),
        "seeds": ",".join(map(str, plan.seeds)),
        **_tuning(plan),
        **_transfer(plan),
        "value": VALUE,
        "p": test_text(plan.interim, verdicts),
        "alpha": f"{ALPHA:g}",
        **{package: ",".join(numbers) for package, numbers in versions.items()},
    }
    return "|".join(f"{key}:{value}" for key, value in parts.items())


def _tuning(plan: Plan) -> dict[str, str]:
    """The search for settings: ``tuning:learning_rate=0.001,0.002@300steps,seeds=1000``."""
    searches = []
    for dataset in plan.datasets:
        tuned = [row.tuned for row in dataset.encodings if row.tuned is not None]
        if tuned:
            grid = grid_text([trial for result in tuned for trial in result.trials])
            seeds = ",".join(map(str, tuned[0].seeds))
            searches.append(f"{grid}@{tuned[0].budget},seeds={seeds}")
    return {"tuning": " and ".join(dict.fromkeys(searches))} if searches else {}


def _transfer(plan: Plan) -> dict[str, str]:
    """Other grids: ``transfer:256,512@none,ntk/64``, that is grids, extensions, items scored."""
    protocols = dict.fromkeys(
        dataset.transfer.text for dataset in plan.datasets if dataset.transfer is not None
    )
    return {"transfer": " and ".join(protocols)} if protocols else {}


def test_text(interim: InterimAnalyses | None, verdicts: Sequence[Verdict]) -> str:
    """How p-values were computed: ``moderated-t2+items+spending2(5..20)+holm(12)``."""
    parts = [f"moderated-t{PRIOR_FREEDOM:g}"]
    if any(verdict.estimate and verdict.estimate.test_set for verdict in verdicts):
        parts.append("items")
    if interim is not None:
        parts.append(f"spending{SPENDING:g}({interim.first}..{interim.last})")
    comparisons = count_comparisons(verdict.pair for verdict in verdicts)
    return "+".join([*parts, f"{HOLM.name}({comparisons})"])
