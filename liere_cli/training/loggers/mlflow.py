"""MLflow: files in ``OUTPUTS/mlruns``, or the server that MLFLOW_TRACKING_URI names."""

import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from liere_cli.training.loggers.base import LoggedRun

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun
    from mlflow.tracking import MlflowClient

FOLDER = "mlruns"
#: tag with the identity of a run
TAG = "liere.id"
#: longest value of a parameter that MLflow takes
MAX_PARAMETER = 500
_STATUS = {"finished": "FINISHED", "diverged": "FAILED", "interrupted": "KILLED"}


class Mlflow:
    """Records a run in the experiment of its folder's name."""

    name: ClassVar[str] = "mlflow"
    package: ClassVar[str] = "mlflow"

    def __init__(self, logged: LoggedRun) -> None:
        self.client = _client(logged)
        experiment = self.client.get_experiment_by_name(logged.experiment)
        experiment_id = (
            experiment.experiment_id
            if experiment is not None
            else self.client.create_experiment(logged.experiment)
        )
        for earlier in _earlier(self.client, logged):
            self.client.delete_run(earlier.info.run_id)
        tags = {TAG: logged.run.run_id, "encoding": logged.encoding, "data": logged.data}
        run = self.client.create_run(experiment_id, run_name=logged.run.name, tags=tags)
        self.run_id, self.step = run.info.run_id, 0
        for key, value in logged.config.items():
            self.client.log_param(self.run_id, key, str(value)[:MAX_PARAMETER])

    @staticmethod
    def has(logged: LoggedRun) -> bool:
        return bool(_earlier(_client(logged), logged))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.step = step
        now = int(time.time() * 1000)
        for name, value in values.items():
            self.client.log_metric(self.run_id, name, value, timestamp=now, step=step)

    def close(self, results: Mapping[str, float], status: str) -> None:
        self.log(self.step, results)
        self.client.set_terminated(self.run_id, _STATUS[status])


def _client(logged: LoggedRun) -> "MlflowClient":
    # before the import, which reads them; later versions refuse files without the first
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow.tracking import MlflowClient

    uri = os.environ.get("MLFLOW_TRACKING_URI")
    return MlflowClient(tracking_uri=uri or (logged.outputs.resolve() / FOLDER).as_uri())


def _earlier(client: "MlflowClient", logged: LoggedRun) -> "list[MlflowRun]":
    """Records of earlier attempts of the run."""
    experiment = client.get_experiment_by_name(logged.experiment)
    if experiment is None:
        return []
    records = client.search_runs(
        [experiment.experiment_id], filter_string=f"tags.`{TAG}` = '{logged.run.run_id}'"
    )
    return list(records)
