"""Videos: frames collected and sampled evenly, recordings never divided between splits."""

import io
import json
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from liere_cli.data import Dataset, Examples, build_dataset
from liere_cli.data.sources.base import Decoding
from liere_cli.data.sources.decode_video import SUFFIXES, decode_video, video_decoding
from liere_cli.data.sources.table import sampled
from liere_cli.data.videos import Ucf101, scene_of
from liere_cli.errors import LiereError


def frame(clip: int, number: int) -> bytes:
    stored = io.BytesIO()
    Image.new("RGB", (8, 8), (clip, number, 33)).save(stored, "png")
    return stored.getvalue()


def load(dataset: Dataset, split: str, grid: tuple[int, ...] | None = None) -> Examples:
    examples = dataset.load(split, grid)  # type: ignore[arg-type]
    assert isinstance(examples, Examples)
    return examples


@given(st.integers(1, 500), st.integers(1, 64))
def test_sampled_frames_are_spread_evenly(count: int, requested: int) -> None:
    frames = sampled(count, requested)
    assert len(frames) == requested
    assert 0 <= frames[0] <= frames[-1] < count
    steps = np.diff(frames)
    assert len(steps) == 0 or steps.max() - steps.min() <= 1
    # as many frames precede the first as follow the last
    assert abs(frames[0] - (count - 1 - frames[-1])) <= 1
    if count <= requested:
        assert set(frames.tolist()) == set(range(count))


def write_frames(path: Path, clips: list[tuple[int, int, int]], names: list[str]) -> None:
    """UCF101's layout: rows are single frames, here in scrambled order.

    Args:
        clips: number, scene and count of frames of each clip; the class is number % 3.
    """
    rows = [(clip, scene, number) for clip, scene, count in clips for number in range(count)]
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(3)).tolist()
    rows = [rows[index] for index in order]
    table = pa.table(
        {
            "image": [{"bytes": frame(clip, n), "path": None} for clip, _, n in rows],
            "video_id": [f"v_{names[clip % 3]}_g{scene:02}" for clip, scene, _ in rows],
            "clip_id": [f"v_{names[clip % 3]}_g{scene:02}_c{clip:02}" for clip, scene, _ in rows],
            "frame": pa.array([number for *_, number in rows], pa.int64()),
            "label": pa.array([clip % 3 for clip, *_ in rows], pa.int64()),
        }
    )
    info = {"info": {"features": {"label": {"_type": "ClassLabel", "names": names}}}}
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(info)}), path)


def test_frames_are_collected_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["Archery", "Diving", "Rowing"]
    train = [(clip, clip // 6, 5 + clip % 7) for clip in range(60)]
    test = [(clip, 20 + clip // 6, 9) for clip in range(60, 90)]
    write_frames(tmp_path / "ucf101-train.parquet", train, names)
    write_frames(tmp_path / "ucf101-test.parquet", test, names)
    monkeypatch.setattr(Ucf101, "classes", 3)
    dataset = build_dataset("ucf101:grid=4x8x8", tmp_path)
    clips: dict[str, list[int]] = {}
    groups: dict[str, set[tuple[int, int]]] = {}
    counts = {clip: count for clip, _, count in train + test}
    for split in ("train", "val", "test"):
        examples = load(dataset, split)
        assert examples.inputs.shape[1:] == (3, 4, 8, 8)
        clips[split] = examples.inputs[:, 0, 0, 0, 0].tolist()
        groups[split] = {(clip % 3, clip // 6) for clip in clips[split]}
        for item, clip in enumerate(clips[split]):
            assert bool((examples.inputs[item, 0] == clip).all())
            numbers = examples.inputs[item, 1, :, 0, 0].tolist()
            assert numbers == sampled(counts[clip], 4).tolist()
            assert int(examples.labels[item]) == clip % 3
        same = {(c % 3, c // 6): int(g) for c, g in zip(clips[split], examples.groups, strict=True)}
        assert len(set(same.values())) == len(groups[split])
    assert sorted(clips["test"]) == list(range(60, 90))
    assert sorted(clips["train"] + clips["val"]) == list(range(60))
    # a scene is never divided, and every class is in val
    assert not groups["train"] & groups["val"]
    assert {label for label, _ in groups["val"]} == {0, 1, 2}
    # another number of frames is sampled anew from the source
    assert load(dataset, "test", (9, 8, 8)).inputs[0, 1, :, 0, 0].tolist() == list(range(9))


@pytest.mark.parametrize(
    ("names", "scene"),
    [
        (("v_Archery_g08", "v_Archery_g08_c01"), "v_Archery_g08"),
        (("v_Archery_g08_c01", "c01"), "v_Archery_g08"),
        (("other", "clip"), "other"),
    ],
)
def test_the_scene_is_read_from_the_names(names: tuple[str, ...], scene: str) -> None:
    assert scene_of(names) == scene


def write_clips(path: Path, count: int, recordings: int) -> None:
    """One clip a row: a list of frames, a label, and the recording it was cut from."""
    table = pa.table(
        {
            "video": [
                [{"bytes": frame(clip, n), "path": None} for n in range(6)] for clip in range(count)
            ],
            "label": pa.array([clip % 2 for clip in range(count)], pa.int64()),
            "recording": [f"r{clip % recordings}" for clip in range(count)],
        }
    )
    pq.write_table(table, path)


def test_recordings_with_several_classes_are_kept_whole(tmp_path: Path) -> None:
    write_clips(tmp_path / "clips.parquet", 80, 20)
    dataset = build_dataset({"name": "video", "path": str(tmp_path), "grid": "3x8x8"})
    recordings = {}
    for split in ("train", "val", "test"):
        examples = load(dataset, split)
        clips = examples.inputs[:, 0, 0, 0, 0]
        recordings[split] = set((clips % 20).tolist())
        assert torch.equal(clips % 2, examples.labels)
        assert examples.inputs[0, 1, :, 0, 0].tolist() == [1, 3, 5]
        assert len(examples.labels.unique()) == 2
    assert sum(len(items) for items in recordings.values()) == 20
    assert len(recordings["train"]) == 16


def test_one_recording_can_not_be_split(tmp_path: Path) -> None:
    write_clips(tmp_path / "clips.parquet", 10, 1)
    with pytest.raises(LiereError, match="can't be split into train, val and test"):
        build_dataset({"name": "video", "path": str(tmp_path)}).load("train")


def test_a_broken_frame_is_named(tmp_path: Path) -> None:
    table = pa.table({"video": [[frame(n, 0), b"junk"] for n in range(20)], "label": [0, 1] * 10})
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(LiereError, match=r"a.parquet row \d+ frame \d is broken or not an image"):
        build_dataset({"name": "video", "path": str(tmp_path)}).load("train")
    table = pa.table({"video": [[]] * 20, "label": [0, 1] * 10})
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(LiereError, match=r"a.parquet row 0 has no image"):
        build_dataset({"name": "video", "path": str(tmp_path)}).load("train")


def write_video(path: Path, clip: int, frames: int = 12) -> None:
    av = pytest.importorskip("av")
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height = 64, 48
        stream.pix_fmt = "yuv420p"
        for number in range(frames):
            pixels = np.full((48, 64, 3), (clip * 8, number * 20, 33), np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def folder_of_videos(folder: Path, **options: Any) -> Dataset:
    for clip in range(12):
        scene = f"v_{'ab'[clip % 2]}_g{clip // 4:02}_c{clip:02}"
        write_video(folder / "ab"[clip % 2] / f"{scene}.avi", clip)
    spec = {"name": "video", "path": str(folder), "grid": "4x24x32"}
    return build_dataset(spec | options)


def test_files_by_class_are_decoded(tmp_path: Path) -> None:
    dataset = folder_of_videos(tmp_path, fractions="0.4/0.3/0.3")
    scenes = []
    for split in ("train", "val", "test"):
        examples = load(dataset, split)
        clips = (examples.inputs[:, 0].float().mean((1, 2, 3)) / 8).round().long()
        assert torch.equal(clips % 2, examples.labels)
        scenes.append({(int(clip) % 2, int(clip) // 4) for clip in clips})
        greens = examples.inputs[:, 1].float().mean((2, 3))
        expected = torch.tensor(sampled(12, 4) * 20).float()
        assert float((greens - expected).abs().max()) < 12
    assert [len(items) for items in scenes] == [2, 2, 2]
    assert len(set.union(*scenes)) == 6
    # a clip with fewer frames than requested has some twice
    assert load(dataset, "test", (24, 24, 32)).inputs.shape[2] == 24


@pytest.mark.parametrize("how", ["empty", "foreign", "no frames"])
def test_a_broken_video_is_named(how: str, tmp_path: Path) -> None:
    dataset = folder_of_videos(tmp_path)
    victim = next((tmp_path / "a").iterdir())
    if how == "no frames":
        whole = victim.read_bytes()
        victim.write_bytes(whole[: whole.index(b"movi") + 8])
    else:
        victim.write_bytes({"empty": b"", "foreign": b"no video" * 1000}[how])
    dataset = build_dataset(dataset.options.model_dump() | {"name": "video"})
    with pytest.raises(LiereError, match=rf"{victim.name} is broken or not a video"):
        _ = [load(dataset, split) for split in ("train", "val", "test")]


def test_without_pyav_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = folder_of_videos(tmp_path, grid="2x6x8")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(LiereError, match=r"decoding needs PyAV: pip install 'liere\[video\]'"):
        load(dataset, "train")


def write_timed(
    path: Path, starts: list[int], *, codec: str = "mpeg4", rotation: int = 0, audio: bool = False
) -> None:
    """A clip with a frame at each of these tenths of a second, whose green says when."""
    av = pytest.importorskip("av")
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 10)
        for start in starts:
            pixels = np.full((48, 64, 3), (20, start * 2, 33), np.uint8)
            shown = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            shown.pts, shown.time_base = start, Fraction(1, 10)
            for packet in stream.encode(shown):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


IRREGULAR = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 30, 60, 90]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".webm"])
def test_frames_that_are_not_evenly_spaced_are_sampled_by_time(suffix: str, tmp_path: Path) -> None:
    codec = "libvpx" if suffix == ".webm" else "mpeg4"
    write_timed(tmp_path / f"a{suffix}", IRREGULAR, codec=codec)
    assert video_decoding(tmp_path / f"a{suffix}") == Decoding.BY_TIME
    clip = decode_video(tmp_path / f"a{suffix}", (8, 48, 64))
    greens = clip[1].astype(float).mean((1, 2))
    # the clip lasts 9 seconds and the length of its last frame
    centres = (np.arange(8) + 0.5) * 9.3 / 8 * 10
    shown = [max(start for start in IRREGULAR if start <= centre) for centre in centres]
    assert np.abs(greens - np.array(shown) * 2).max() < 15
    assert shown.count(60) >= 2


@pytest.mark.parametrize("jitter", [0, 1])
def test_frames_near_an_even_spacing_are_sampled_by_number(jitter: int, tmp_path: Path) -> None:
    # a rate of 5 frames a second, some of them a tenth late
    starts = [2 * n + (jitter if n % 3 == 1 else 0) for n in range(40)]
    write_timed(tmp_path / "a.mp4", starts)
    assert video_decoding(tmp_path / "a.mp4") == Decoding.USUAL
    clip = decode_video(tmp_path / "a.mp4", (8, 48, 64))
    expected = np.array([starts[n] for n in sampled(40, 8)]) * 2
    assert np.abs(clip[1].astype(float).mean((1, 2)) - expected).max() < 12


def test_gif_frames_of_different_length_are_sampled_by_time(tmp_path: Path) -> None:
    pytest.importorskip("av")
    frames = [Image.new("RGB", (16, 16), (level, level, level)) for level in (0, 60, 120, 180)]
    frames[0].save(
        tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=[100, 100, 100, 900]
    )
    assert Decoding.BY_TIME in video_decoding(tmp_path / "a.gif")
    levels = decode_video(tmp_path / "a.gif", (12, 16, 16))[0].mean((1, 2))
    assert (np.abs(levels - 180) < 20).sum() == 9


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_every_suffix_of_videos_is_read(suffix: str, tmp_path: Path) -> None:
    write_timed(tmp_path / "clip.mp4", list(range(12)))
    for number in range(12):
        folder = tmp_path / "set" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        content = (tmp_path / "clip.mp4").read_bytes() + bytes([number])
        (folder / f"{number}{suffix.upper()}").write_bytes(content)
    dataset = build_dataset({"name": "video", "path": str(tmp_path / "set"), "grid": "2x8x8"})
    assert sum(len(load(dataset, split)) for split in ("train", "val", "test")) == 12


def write_audio(path: Path, cover: bool) -> None:
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        picture = container.add_stream("png", rate=1) if cover else None
        if picture:
            picture.width, picture.height, picture.pix_fmt = 16, 16, "rgb24"
            picture.disposition = av.stream.Disposition.attached_pic
        sound = av.AudioFrame.from_ndarray(
            np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
        )
        sound.sample_rate = 16000
        for _ in range(8):
            container.mux(stream.encode(sound))
        container.mux(stream.encode())
        if picture:
            pixels = np.zeros((16, 16, 3), np.uint8)
            container.mux(picture.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(picture.encode())


@pytest.mark.parametrize("cover", [False, True])
def test_a_clip_of_sound_alone_is_named(cover: bool, tmp_path: Path) -> None:
    folder_of_videos(tmp_path)
    victim = tmp_path / "a" / "song.m4v"
    write_audio(tmp_path / "song.mp4", cover)
    victim.write_bytes((tmp_path / "song.mp4").read_bytes())
    (tmp_path / "song.mp4").unlink()
    reason = "its video stream is a cover image" if cover else "no video stream, only audio"
    with pytest.raises(LiereError, match=rf"song.m4v is broken or not a video: .*{reason}"):
        load(build_dataset({"name": "video", "path": str(tmp_path)}), "train")


def test_frames_are_rotated_as_the_file_asks(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_timed(path, list(range(10)))
    content = path.read_bytes()
    # the matrix of the track: from the identity to a quarter of a circle
    one, zero = (1 << 16).to_bytes(4, "big"), bytes(4)
    last = (1 << 30).to_bytes(4, "big")
    minus = (-(1 << 16) & 0xFFFFFFFF).to_bytes(4, "big")
    identity = one + zero * 3 + one + zero * 3 + last
    turned = zero + one + zero + minus + zero * 4 + last
    place = content.rindex(identity)
    path.write_bytes(content[:place] + turned + content[place + len(turned) :])
    assert video_decoding(path) == Decoding.ROTATED
    upright = decode_video(path, (2, 64, 48))
    assert upright.shape == (3, 2, 64, 48)


def test_a_summary_of_videos_names_irregular_ones(tmp_path: Path) -> None:
    folder_of_videos(tmp_path)
    before = build_dataset({"name": "video", "path": str(tmp_path)}).fingerprint
    write_timed(tmp_path / "a/late.mp4", IRREGULAR)
    dataset = build_dataset({"name": "video", "path": str(tmp_path)})
    assert dataset.fingerprint != before
    assert "1 item: frames are not evenly spaced, and are sampled by time" in dataset.notes
