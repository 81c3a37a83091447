"""A comparison from Python, cell by cell: open it as a notebook, or run it as a script.

The models here are as small as possible, so that the script takes seconds and its verdicts mean
nothing. Drop ``SMALL``, ``budget`` and ``limit`` for real ones.
"""

# %% Settings: a transformer of one layer, few test items
import torch

import liere_cli as liere

SMALL = [
    "model.layers=1",
    "model.dim=16",
    "model.heads=2",
    "training.batch=4",
    "training.validation_limit=8",
    "training.test_limit=8",
]

# %% Compare two encodings with rotary on text and on video
table = liere.compare(
    "quick", data="stdlib,motion", seeds=2, budget="2steps", device="cpu", assignments=SMALL
)
print(table.to_markdown())

# %% One verdict
print(table.verdict("liere", data="motion"))

# %% Train one model, and evaluate it at twice its training length
run = liere.train(
    encoding="liere", data="stdlib:grid=64", budget="2steps", device="cpu", assignments=SMALL
)
for row in liere.evaluate(run, grids=[64, 128], limit=8):
    print(row)

# %% Use an encoding in another transformer: one CLS token and 4 x 4 patches
encoding = liere.build_encoding("liere:block=8", axes=2, heads=2, head_dim=16)
q, k, v = torch.randn(3, 1, 2, 1 + 16, 16)
q, k = encoding(q, k, encoding.positions((4, 4)), prefix_tokens=1)
y = torch.nn.functional.scaled_dot_product_attention(q, k, v)
print(y.shape)
