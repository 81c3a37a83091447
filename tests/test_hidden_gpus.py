"""Tests run on CPUs, whatever the machine has, unless they ask for a GPU."""

import os

import pytest
import torch
from conftest import selects_gpu


def test_gpus_are_hidden() -> None:
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
    assert not torch.cuda.is_available()


@pytest.mark.parametrize(
    ("expression", "selected"),
    [
        ("", False),
        ("not stress and not gpu", False),
        ("stress", False),
        ("gpu", True),
        ("gpu and not stress", True),
        ("stress or gpu", True),
        ("gpus", False),
    ],
)
def test_an_expression_selects_the_marker(expression: str, selected: bool) -> None:
    assert selects_gpu(expression) == selected
