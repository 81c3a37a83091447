"""Clips: random in training, fixed views in evaluation, an item is a video; lists of videos."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import liere_cli as liere
from liere_cli.data import Dataset, Examples, TrainingBatches, build_dataset
from liere_cli.data.clips.encoded import clip_at, view_at
from liere_cli.data.sources.base import Decoding
from liere_cli.data.sources.decode_video import decode_frames, decode_video, video_decoding
from liere_cli.errors import LiereError, UsageError
from liere_cli.evaluation.evaluate import evaluate
from liere_cli.positions.cache import StateCache
from liere_cli.runs.item_results import item_results
from support.views import fixed_views

av = pytest.importorskip("av")
SIZE = (24, 32)


def write(path: Path, starts: list[int], red: int = 20, flags: str = "", **options: str) -> Path:
    """A video with a frame at each of these tenths of a second, whose green says when."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options={"movflags": flags} if flags else {}) as container:
        stream = container.add_stream("mpeg4", rate=10, options={"g": "12", "qmin": "1", **options})
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 10)
        for start in starts:
            pixels = np.full((*SIZE, 3), (red, start, 33), np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = start, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of ten videos of 120 frames, which are told by their red."""
    folder = tmp_path_factory.mktemp("videos")
    for number in range(30):
        write(folder / "abc"[number % 3] / f"{number}.mp4", list(range(120)), 8 * number)
    return folder


def load(dataset: Dataset, split: str) -> Examples:
    examples = dataset.load(split)  # type: ignore[arg-type]
    assert isinstance(examples, Examples)
    return examples


def times_in(clips: Tensor) -> Tensor:
    """When the frames of clips [B, 3, F, rows, columns] are shown, float [B, F]."""
    return clips[:, 1].float().mean((2, 3))


@given(st.integers(1, 300), st.integers(1, 32), st.none() | st.integers(1, 20), st.floats(0, 0.999))
def test_clips_lie_within_the_video(
    count: int, frames: int, stride: int | None, start: float
) -> None:
    clip = clip_at(count, frames, stride, start)
    assert len(clip) == frames
    assert 0 <= clip[0] <= clip[-1] < count
    assert (np.diff(clip) >= 0).all()
    if stride and (frames - 1) * stride < count:
        assert set(np.diff(clip).tolist()) <= {stride}


@given(st.integers(40, 300), st.integers(1, 8), st.integers(1, 5), st.integers(1, 6))
def test_views_are_spread_evenly(count: int, frames: int, stride: int, views: int) -> None:
    clips = [view_at(count, frames, stride, view, views) for view in range(views)]
    steps = np.diff([clip[0] for clip in clips])
    assert len(steps) == 0 or steps.max() - steps.min() <= 1
    # as many frames before the first as after the last
    assert abs(clips[0][0] - (count - 1 - clips[-1][-1])) <= 1


def batches(dataset: Dataset, **options: Any) -> TrainingBatches:
    settings = {"batch_size": 8, "seed": 3, "mean": (0.0,) * 3, "std": (1 / 255,) * 3, **options}
    return TrainingBatches(load(dataset, "train"), **settings)  # type: ignore[arg-type]


def test_training_clips_are_a_function_of_seed_and_step(folder: Path) -> None:
    dataset = build_dataset(f"video:{folder},grid=4x24x32,stride=3")
    first = batches(dataset)
    clips = [first.at(step)[0] for step in range(3)]
    assert torch.equal(batches(dataset).at(2)[0], clips[2])
    assert torch.equal(batches(dataset).at(1, slice(2, 5))[0], clips[1][2:5])
    times = torch.cat([times_in(clip) for clip in clips])
    assert (times.diff() - 3).abs().max() < 3
    assert len(times[:, 0].round().unique()) > 15
    assert not torch.equal(batches(dataset, seed=4).at(0)[0], clips[0])


class ByGreen(nn.Module):
    """Scores that depend on when a clip is shown, which several views must average."""

    states = StateCache()

    def forward(self, inputs: Tensor, positions: Tensor | None = None) -> Tensor:
        green, red = inputs[:, 1].mean((1, 2, 3)), inputs[:, 0].mean((1, 2, 3))
        return torch.stack([green, red, green - red], 1)


def test_the_views_of_a_video_are_averaged(folder: Path) -> None:
    dataset = build_dataset(f"video:{folder},grid=4x24x32,stride=3,views=5")
    examples = load(dataset, "test")
    result = evaluate(
        ByGreen(), dataset, examples, grid=dataset.grid, device=torch.device("cpu"),
        precision="float32",
    )  # fmt: skip
    videos = len(examples)
    assert len(result.items["loss"]) == result.count == videos >= 3
    views = fixed_views(examples)
    assert len(times_in(views)[:, 0].view(videos, 5).round().unique(dim=1)[0]) == 5
    for video in range(videos):
        scores = []
        for view in range(5):
            pixels = views[5 * video + view].float() / 255
            shape = (-1, 1, 1, 1)
            mean, std = torch.tensor(dataset.mean), torch.tensor(dataset.std)
            logits = ByGreen()(((pixels - mean.view(shape)) / std.view(shape))[None])
            scores.append(logits[0].softmax(0))
        mean_score = torch.stack(scores).mean(0)
        label = examples.labels[video]
        loss = -float(mean_score[label].log())
        assert float(result.items["loss"][video]) == pytest.approx(loss, rel=1e-3, abs=1e-5)
        assert int(result.items["correct"][video]) == int(mean_score.argmax() == label)


def test_a_run_on_clips_has_an_item_for_each_video(folder: Path, tmp_path: Path) -> None:
    small = ["model.layers=1", "model.dim=24", "model.heads=2", "training.batch=4"]
    run = liere.train(
        encoding="rope-mixed", data=f"video:{folder},grid=4x24x32,stride=3,views=3",
        budget="2steps", assignments=small, out=tmp_path,
    )  # fmt: skip
    items = item_results(run, "top1")
    assert items is not None
    assert len(items.scores) == len(load(liere.open_trained(run).run_spec.dataset, "test"))


def test_options_of_clips_leave_earlier_identities(folder: Path) -> None:
    plain, clips = (build_dataset(f"video:{folder}{more}") for more in ("", ",stride=2"))
    assert not {"stride", "views", "videos"} & plain.options.identifying().keys()
    assert clips.options.identifying()["stride"] == 2
    assert plain.fingerprint == clips.fingerprint


def test_frames_behind_a_key_frame_are_those_of_the_whole_video(tmp_path: Path) -> None:
    for codec in ({}, {"bf": "2"}):
        path = write(tmp_path / "a.mp4", list(range(200)), **codec)
        for first in (0, 70, 95, 150):
            numbers = first + np.arange(4) * 2
            sought = decode_frames(path, (4, *SIZE), lambda count, n=numbers: n)  # type: ignore[misc]
            every = decode_video(path, (200, *SIZE))
            assert np.array_equal(sought, every[:, numbers])


@pytest.mark.parametrize("suffix", [".mkv", ".ts", ".avi"])
def test_the_end_that_is_missing_is_left_out_and_counted(suffix: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"a{suffix}", list(range(100)))
    whole = decode_video(path, (100, *SIZE))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    cut = decode_frames(path, (20, *SIZE), lambda count: np.arange(20))
    assert np.array_equal(cut, whole[:, :20])
    spread = decode_video(path, (8, *SIZE))[1].mean((1, 2))
    assert 30 < spread[-1] < 80
    assert np.all(np.diff(spread) > 0)


def test_videos_whose_end_is_missing_are_counted(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "set")
    victim = write(tmp_path / "set/a/long.mp4", list(range(120)), flags="+faststart")
    content = victim.read_bytes()
    movie = write(tmp_path / "moved.mp4", list(range(120)))
    assert video_decoding(movie) == Decoding.USUAL
    # as a download into a file of the full size leaves it
    victim.write_bytes(content[: len(content) - 400] + bytes(400))
    late = tmp_path / "set/b/late.avi"
    write(late, list(range(120)))
    late.write_bytes(late.read_bytes()[:-3000])
    dataset = build_dataset(f"video:{tmp_path / 'set'},grid=4x24x32")
    notes = [note for note in dataset.notes if "the end of the file is missing" in note]
    assert notes == [
        "2 items: the end of the file is missing or damaged, and what comes before it is used"
    ]
    assert [len(load(dataset, split)) for split in ("train", "val", "test")]


FFMPEG = shutil.which("ffmpeg")


def by_ffmpeg(path: Path) -> np.ndarray[Any, Any]:
    """Every frame as ffmpeg shows it, uint8 [T, rows, columns, 3]."""
    command = [
        FFMPEG or "", "-v", "quiet", "-i", str(path), "-fps_mode", "passthrough", "-f", "rawvideo",
        "-pix_fmt", "rgb24", "-",
    ]  # fmt: skip
    out = subprocess.run(command, capture_output=True, check=False).stdout
    probe = subprocess.run(
        [FFMPEG or "", "-hide_banner", "-i", str(path)], capture_output=True, text=True, check=False
    )
    found = re.search(r"Video:.*?, (\d+)x(\d+)", probe.stderr)
    assert found
    columns, rows = int(found[1]), int(found[2])
    if "rotation of" in probe.stderr and "rotation of 180" not in probe.stderr:
        rows, columns = columns, rows
    return np.frombuffer(out, np.uint8).reshape(-1, rows, columns, 3)


def rotated(path: Path) -> None:
    """Writes a quarter turn into the matrix of the track."""
    one, minus = (1 << 16).to_bytes(4, "big"), (-(1 << 16) & 0xFFFFFFFF).to_bytes(4, "big")
    zero, last = bytes(4), (1 << 30).to_bytes(4, "big")
    content, identity = path.read_bytes(), one + zero * 3 + one + zero * 3 + last
    place = content.rindex(identity)
    turned = zero + one + zero + minus + zero * 4 + last
    path.write_bytes(content[:place] + turned + content[place + len(turned) :])


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2000])


@pytest.mark.skipif(FFMPEG is None, reason="ffmpeg is not installed")
@pytest.mark.parametrize(
    ("suffix", "starts", "change"),
    [
        (".mp4", list(range(100)), rotated),
        (".mkv", [*range(60), 90, 120, 200], lambda path: None),
        (".mkv", list(range(100)), cut),
        (".ts", list(range(100)), cut),
    ],
    ids=["rotated", "variable rate", "truncated", "truncated stream"],
)
def test_frames_are_those_of_ffmpeg(
    suffix: str, starts: list[int], change: Callable[[Path], object], tmp_path: Path
) -> None:
    path = write(tmp_path / f"a{suffix}", starts)
    change(path)
    expected = by_ffmpeg(path)
    count = len(expected)
    size = expected.shape[1:3]
    if starts[-1] == 99:
        ours = decode_frames(path, (count, *size), lambda frames: np.arange(count))
    else:
        # by time: a part for each tenth of a second, of which each frame has as many as it lasts
        ours = decode_video(path, (starts[-1] + 1, *size))[:, starts]
    difference = np.abs(ours.transpose(1, 2, 3, 0).astype(int) - expected)
    assert difference.mean() < 2
    assert difference.mean((1, 2, 3)).max() < 4


def kinetics(folder: Path, rows: list[tuple[str, str, int, str]]) -> Path:
    lines = ["label,youtube_id,time_start,time_end,split,is_cc"]
    lines += [
        f'"{label}",{name},{start},{start + 10},{split},0' for label, name, start, split in rows
    ]
    path = folder / "annotations.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_kinetics_lists_are_read(tmp_path: Path) -> None:
    rows = []
    for number in range(24):
        split = "train" if number < 16 else "validate" if number < 18 else "test"
        split = {"validate": "val"}.get(split, split)
        name = f"-x{number // 2:08d}_Q"
        rows.append((["abseiling", "air drumming"][number // 2 % 2], name, 10 * number, split))
        if number not in (3, 21):
            clip = f"{name}_{10 * number:06d}_{10 * number + 10:06d}.mp4"
            write(tmp_path / "clips" / split / clip, list(range(12)), 8 * number)
    path = kinetics(tmp_path, rows)
    dataset = build_dataset(f"video:{path},videos={tmp_path / 'clips'},grid=2x24x32")
    assert "left aside: 2 listed and missing" in dataset.notes
    assert [len(load(dataset, split)) for split in ("train", "val", "test")] == [15, 2, 5]
    # clips of one video are a group
    assert len(load(dataset, "train").groups.unique()) == 8
    assert "read 22 items of 2 classes (abseiling 11, air drumming 11)" in dataset.notes[0]


def test_something_something_lists_are_read(tmp_path: Path) -> None:
    for part, numbers in {"train": range(16), "validation": range(16, 24)}.items():
        entries = [
            {
                "id": str(number), "label": f"holding thing {number}", "placeholders": ["thing"],
                "template": ["Holding [something]", "Dropping [something]"][number % 2],
            }
            for number in numbers
        ]  # fmt: skip
        (tmp_path / f"something-{part}.json").write_text(json.dumps(entries))
        for number in numbers:
            write(tmp_path / "20bn" / f"{number}.mp4", list(range(6)), 8 * number)
    dataset = build_dataset(f"video:{tmp_path}/something-*.json,grid=2x24x32")
    assert "(Dropping something 12, Holding something 12)" in dataset.notes[0]
    assert len(load(dataset, "test")) == 8
    reds = load(dataset, "test").inputs[:, 0].float().mean((1, 2, 3)) / 8  # type: ignore[index]
    assert sorted(reds.round().int().tolist()) == [*range(16, 24)]


BROKEN_LISTS: dict[str, tuple[str, str]] = {
    "empty.csv": ("", "names no video below"),
    "header.csv": ("path,label\n", "names no video below"),
    "columns.csv": ("a,b\n1,2\n", "(1 listed without a label)"),
    "file.csv": ("label,size\ncat,2\n", "names no video (its columns are label, size)"),
    "missing.csv": ("path,label\nx.mp4,cat\n", "(1 listed and missing)"),
    "ragged.csv": ("path,label\n0.mp4,cat,9\n", "line 2 has 3 values, and the header 2"),
    "quote.csv": ('path,label\n"0.mp4,cat\n', "is broken or not a list of videos"),
    "binary.csv": ("path,label\n\x00\xff", "line 2 has 1 values"),
    "one.csv": ("path,label\n0.mp4,cat\n", "has one class (cat)"),
    "case.csv": ("path,label\n0.mp4,cat\n1.mp4,Cat\n", "differ in case or spaces only"),
    "twice.csv": ("path,label\n0.mp4,cat\n0.mp4,dog\n", "has another class or split"),
    "splits.csv": ("path,label,split\n0.mp4,cat,train\n1.mp4,dog,\n", "some rows have a split"),
    "text.json": ("not json", "is broken or not a list of videos"),
    "number.json": ("3", "a list of objects is expected"),
    "deep.json": ("[" * 5000, "is broken or not a list of videos"),
    "mixed.json": ('[{"id": "0", "label": "a"}, 7]', "a list of objects is expected"),
}


@pytest.mark.parametrize("name", BROKEN_LISTS)
def test_a_broken_list_is_one_sentence(name: str, tmp_path: Path) -> None:
    content, message = BROKEN_LISTS[name]
    for number in range(2):
        write(tmp_path / f"{number}.mp4", list(range(4)))
    (tmp_path / name).write_text(content)
    with pytest.raises(LiereError, match=re.escape(message)):
        build_dataset(f"video:{tmp_path / name}").load("train")


def test_clips_of_tables_of_frames_are_refused(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"video": [[b"x"]] * 4, "label": [0, 1] * 2})
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(LiereError, match="need files of videos"):
        build_dataset(f"video:{tmp_path}/a.parquet,stride=2").load("train")
    with pytest.raises(UsageError, match="stride"):
        build_dataset(f"video:{tmp_path}/a.parquet,stride=0")
