"""What every test stands on: no network, and a cache of its own."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# tests run side by side, so each takes one core; read by torch when it is imported
os.environ.setdefault("OMP_NUM_THREADS", "1")
# read by datasets and huggingface_hub when they are imported
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
# no test depends on the clock: the first text drawn in a fresh checkout builds a table of all
# characters, which on a busy machine takes longer than Hypothesis has patience
settings.register_profile(
    "liere", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
settings.load_profile("liere")


def pytest_configure(config: pytest.Config) -> None:
    """Hides GPUs unless ``-m`` selects the tests that need one: the others name no device.

    CUDA reads the variable when it starts, and processes that tests start inherit it.
    """
    if not selects_gpu(config.option.markexpr):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def selects_gpu(expression: str) -> bool:
    """Whether an expression of ``-m`` selects the marker ``gpu``."""
    return bool(re.search(r"(?<!not )\bgpu\b", expression))


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIERE_CACHE", str(cache / "liere"))
        patch.setenv("HF_HOME", str(cache / "huggingface"))
        patch.delenv("HF_DATASETS_CACHE", raising=False)
        patch.delenv("LIERE_DATA", raising=False)
        yield


@pytest.fixture(autouse=True, scope="session")
def _no_probes() -> None:
    """Runs are not timed before they are trained, since tests replace the training."""
    from liere_cli.launchers import probe

    probe.PROBE_SECONDS = -1.0


@pytest.fixture(autouse=True)
def _same_numbers_every_time() -> None:
    """What a test draws without a generator of its own does not depend on the tests before it."""
    import torch

    torch.manual_seed(0)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data files beside the repository; its tests are skipped without it."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the real data files are not at hand in {folder}")
    return folder
