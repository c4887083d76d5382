"""LeRobot datasets: what is exported is read back, what lerobot itself wrote is read, what is broken is one sentence.

`lerobot_written/` is a dataset that lerobot 0.6.1 wrote (`make.py` there).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from aim_rl.data import lerobot_export
from aim_rl.data.dataset import DemonstrationSet
from aim_rl.data.episode import Episode
from aim_rl.data.files import episode_path, find_episodes, read_episode, read_header, write_episode
from aim_rl.data.lerobot import LeRobotOptions
from aim_rl.data.lerobot_export import lerobot_writer
from aim_rl.data.lerobot_stats import aggregate, image_stats, vector_stats
from aim_rl.export import ExportConfig, export
from aim_rl.model.presets import PRESETS
from envs.constants import CAMERAS
from envs.errors import UserError

from .lerobot_written import make_statistics

TINY = PRESETS["tiny"]
WRITTEN = Path(__file__).parent / "lerobot_written"
ALOHA = LeRobotOptions(robot="aloha-agilex")
HEAD = "observation.images.head_camera"
Make = Callable[..., Episode]


def shaded(episode: Episode) -> Episode:
    """The episode with pictures that have edges and shades, as a camera's have."""
    changes = {}
    for camera in CAMERAS:
        images = getattr(episode, camera)
        rows, cols = np.mgrid[: images.shape[1], : images.shape[2]]
        waves = 100 + 60 * np.sin(rows / 9)[..., None] * np.cos(cols / 7)[..., None] + 40 * (cols > rows)[..., None]
        changes[camera] = np.clip(0.7 * waves + 0.3 * images, 0, 255).astype(np.uint8)
    return replace(episode, **changes)


@pytest.fixture
def recorded(tmp_path: Path, make_episode: Make) -> Path:
    """Four episodes in our own format."""
    for index, frames in enumerate((24, 31, 26, 24)):
        episode = shaded(make_episode(frames, (48, 64), (32, 32), seed=index))
        episode.perturbed[20] = True
        episode.instructions = [f"stack the blocks {index}", "put one block on the other"]
        write_episode(episode_path(tmp_path / "recorded", index), episode)
    return tmp_path / "recorded"


@pytest.fixture
def exported(tmp_path: Path, recorded: Path) -> Path:
    assert export(ExportConfig(data=recorded, out=tmp_path / "exported")) == 4
    return tmp_path / "exported"


def psnr(images: Any, originals: Any) -> float:
    """Peak signal-to-noise ratio in dB of pictures in 0..255."""
    return float(10 * np.log10(255**2 / np.mean((np.asarray(images, float) - np.asarray(originals, float)) ** 2)))


def same(read: Episode, original: Episode) -> None:
    """Everything but the pictures is equal bit by bit, and the pictures differ by the codec's loss."""
    for name, value in vars(original).items():
        other = getattr(read, name)
        if name in CAMERAS:
            assert value.shape == other.shape and psnr(other, value) > 34, name
        elif name == "contacts":
            for part, array in vars(value).items():
                assert np.array_equal(getattr(other, part), array) and getattr(other, part).dtype == array.dtype, part
        elif isinstance(value, np.ndarray):
            assert np.array_equal(other, value) and other.dtype == value.dtype, name
        else:
            assert other == value, name


def test_batches_of_an_exported_dataset_are_those_of_the_original(recorded: Path, exported: Path) -> None:
    direct, through = DemonstrationSet(recorded, TINY), DemonstrationSet(exported, TINY)
    assert through.describe() == direct.describe()
    assert torch.equal(through.train, direct.train) and torch.equal(through.validation, direct.validation)
    frames = torch.arange(0, direct.frames, 7)
    draws = [torch.Generator().manual_seed(0) for _ in range(2)]
    expected, batch = direct.batch(frames, draws[0]), through.batch(frames, draws[1])
    assert batch.keys() == expected.keys()
    for name, value in expected.items():
        if name in CAMERAS or name == "future_rgb":
            scale = 255 if name == "future_rgb" else 1
            assert psnr(scale * batch[name], scale * value) > 34, name
        else:
            assert torch.equal(batch[name], value), name


def test_all_of_an_episode_comes_back(recorded: Path, exported: Path) -> None:
    for source, original in zip(find_episodes(exported), find_episodes(recorded), strict=True):
        assert read_header(source) == read_header(original)
        same(read_episode(source), read_episode(original))


def test_a_dataset_of_many_files_reads_as_one_file(
    tmp_path: Path, recorded: Path, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for size in ("DATA_MB", "VIDEO_MB", "_EPISODES_AT_ONCE"):
        monkeypatch.setattr(lerobot_export, size, 1 if size[0] == "_" else 0)
    monkeypatch.setattr(lerobot_export, "CHUNK_SIZE", 3)
    export(ExportConfig(data=exported, out=tmp_path / "many"))
    for kind in ("data", "meta/episodes", f"videos/{HEAD}"):
        files = [
            path.relative_to(tmp_path / "many" / kind).with_suffix("")
            for path in (tmp_path / "many" / kind).rglob("*.*")
        ]
        assert sorted(map(str, files)) == [f"chunk-00{n // 3}/file-00{n % 3}" for n in range(4)]
    for source, original in zip(find_episodes(tmp_path / "many"), find_episodes(exported), strict=True):
        same(read_episode(source), read_episode(original))


def test_what_lerobot_wrote_is_read() -> None:
    sources = find_episodes(WRITTEN, ALOHA)
    headers = [read_header(source) for source in sources]
    assert [(header.frames, header.fps, header.contacts_recorded) for header in headers] == [
        (12, 25, False),
        (9, 25, False),
        (15, 25, False),
    ]
    for number, source in enumerate(sources):
        episode = read_episode(source)
        times = np.arange(len(episode))
        for camera, name in enumerate(CAMERAS):
            seen = getattr(episode, name).mean((1, 2, 3))
            assert np.abs(seen - (10 * (times + 1) + camera)).max() < 2, name
        np.testing.assert_allclose(episode.qpos[:, 0], 0.01 * times + 0.1 * number, atol=1e-6)
        np.testing.assert_allclose(episode.action[:, 0], episode.qpos[:, 0] + 0.01, atol=1e-6)
        assert episode.instructions == ["stack the blocks" if number < 2 else "put one block on the other"]
        assert episode.contacts.time.tolist() == [5, 5]  # both grippers close there
        assert not episode.contacts_recorded and not episode.cameras_recorded


def test_h264_is_read(tmp_path: Path) -> None:
    folder = shutil.copytree(WRITTEN, tmp_path / "h264")
    for path in folder.rglob("*.mp4"):
        with av.open(str(WRITTEN / path.relative_to(folder))) as video, av.open(str(path), "w") as copy:
            stream = copy.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for frame in video.decode(video=0):
                copy.mux(stream.encode(av.VideoFrame.from_ndarray(frame.to_ndarray(format="rgb24"), format="rgb24")))
            copy.mux(stream.encode())
    for source, original in zip(find_episodes(folder, ALOHA), find_episodes(WRITTEN, ALOHA), strict=True):
        assert psnr(read_episode(source).left_camera, read_episode(original).left_camera) > 34


def equal_statistics(stats: dict[str, np.ndarray], expected: dict[str, Any], name: str) -> None:
    assert stats.keys() == expected.keys()
    for key, value in stats.items():
        assert value.shape == np.shape(expected[key])
        assert np.abs(value - expected[key]).max() < 1e-5, (name, key)


def test_statistics_of_a_dataset_are_those_that_lerobot_wrote() -> None:
    table = pq.read_table(WRITTEN / "data" / "chunk-000" / "file-000.parquet")
    expected = json.loads((WRITTEN / "meta" / "stats.json").read_text())
    numbers, frame = table["episode_index"].to_numpy(), table["frame_index"].to_numpy()
    values = {"observation.state": np.array(table["observation.state"].to_pylist(), np.float32)}
    values["action"] = np.array(table["action"].to_pylist(), np.float32)
    values |= {name: table[name].to_numpy() for name in ("timestamp", "index", "frame_index", "task_index")}
    flat = 10 * (frame[:, None, None, None] + 1) + np.zeros((48, 64, 3))  # as `make.py` drew them
    values |= {f"observation.images.{camera}": (flat + n).astype(np.uint8) for n, camera in enumerate(CAMERAS)}
    for name, each in values.items():
        compute = image_stats if "images" in name else vector_stats
        stats = [compute(each[numbers == number]) for number in range(3)]
        equal_statistics(aggregate(aggregate(stats[0], stats[1]), stats[2]), expected[name], name)


def test_statistics_of_a_long_episode_are_those_of_the_frames_and_pixels_that_lerobot_samples() -> None:
    expected = json.loads((WRITTEN / "statistics.json").read_text())
    for name, values in make_statistics.episode().items():
        equal_statistics((image_stats if "images" in name else vector_stats)(values), expected[name], name)


def test_an_exported_dataset_has_the_statistics_of_its_frames(exported: Path) -> None:
    """By another route: of the frames that are read back, episode by episode, weighted by their numbers."""
    stats = json.loads((exported / "meta" / "stats.json").read_text())
    episodes = [read_episode(source) for source in find_episodes(exported)]
    joints = np.concatenate([episode.qpos for episode in episodes])
    assert stats["observation.state"]["count"] == [len(joints)] == [105]
    np.testing.assert_allclose(stats["observation.state"]["mean"], joints.mean(0), atol=1e-5)
    np.testing.assert_allclose(stats["observation.state"]["std"], joints.std(0), atol=1e-4)
    medians = [np.quantile(episode.qpos, 0.5, 0, method="inverted_cdf") * len(episode) for episode in episodes]
    one_bin = np.ptp(joints, 0) / 5000
    assert (np.abs(np.array(stats["observation.state"]["q50"]) - np.sum(medians, 0) / 105) <= one_bin + 1e-6).all()
    red = np.mean(np.concatenate([episode.head_camera[..., 0] for episode in episodes])) / 255
    assert stats[HEAD]["mean"][0][0][0] == pytest.approx(red, abs=0.01)  # the codec's loss


def test_failures_are_left_out_of_training(tmp_path: Path, make_episode: Make) -> None:
    with lerobot_writer(tmp_path / "policy") as writer:
        for seed in range(5):
            writer.add(replace(make_episode(24, (48, 64), (32, 32), seed=seed), success=seed != 1))
    data = DemonstrationSet(tmp_path / "policy", TINY)
    assert data.episodes == 4 and "1 failed episodes left out" in data.describe()
    rewards = pq.read_table(tmp_path / "policy" / "data", columns=["episode_index", "next.reward", "next.success"])
    assert rewards["next.reward"].to_numpy().sum() == 4 and not rewards["next.success"].to_pylist()[47]


def test_the_statistics_say_what_is_not_recorded(tmp_path: Path) -> None:
    folder = shutil.copytree(WRITTEN, tmp_path / "stack_blocks_two" / "clean")
    data = DemonstrationSet(folder, TINY, "stack_blocks_two", lerobot=ALOHA)  # the folder above says the task
    assert data.describe() == (
        "3 episodes of stack_blocks_two: contacts recorded in 0, derived from the grippers in 3; camera matrices "
        "computed from the joints of 3; 25 frames per second, where a control step here takes 1/17 s"
    )


def test_cameras_of_other_names(tmp_path: Path) -> None:
    folder = shutil.copytree(WRITTEN, tmp_path / "other")
    change_info(folder, lambda text: text.replace("images.head_camera", "images.top"))
    (folder / "videos" / HEAD).rename(folder / "videos" / "observation.images.top")
    path = folder / "meta" / "episodes" / "chunk-000" / "file-000.parquet"
    table = pq.read_table(path)
    pq.write_table(table.rename_columns([name.replace("head_camera", "top") for name in table.column_names]), path)
    with pytest.raises(
        UserError, match=r"has no head_camera .*\(top, left_camera, right_camera\); name three of them by"
    ):
        find_episodes(folder, ALOHA)
    named = LeRobotOptions(cameras=("top", "left_camera", "right_camera"), robot="aloha-agilex")
    assert read_episode(find_episodes(folder, named)[0]).head_camera[3].mean() == pytest.approx(40, abs=2)
    with pytest.raises(UserError, match="--cameras takes three names"):
        LeRobotOptions(cameras=("top",))


# -- damage: one sentence each ------------------------------------------------------------------------------------


def change_info(folder: Path, change: Callable[[str], str]) -> None:
    path = folder / "meta" / "info.json"
    path.write_text(change(path.read_text()))


def change_rows(folder: Path, **columns: list[Any]) -> None:
    path = folder / "meta" / "episodes" / "chunk-000" / "file-000.parquet"
    table = pq.read_table(path)
    for name, values in columns.items():
        index = table.column_names.index(name.replace("__", "/"))
        table = table.set_column(index, table.column_names[index], pa.array(values))
    pq.write_table(table, path)


def truncate(folder: Path, name: str) -> None:
    (path,) = folder.glob(name)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def delete(folder: Path, name: str) -> None:
    (path,) = folder.glob(name)
    path.unlink()


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "video cut": (lambda at: truncate(at, f"videos/{HEAD}/*/*.mp4"), r"file-000.mp4 is truncated or cannot be read"),
    "video gone": (lambda at: delete(at, f"videos/{HEAD}/*/*.mp4"), r"file-000.mp4 is missing; download or copy"),
    "frames cut": (lambda at: truncate(at, "data/*/*.parquet"), r"data/.*/file-000.parquet is truncated"),
    "rows cut": (lambda at: truncate(at, "meta/episodes/*/*.parquet"), r"meta/episodes is truncated"),
    "rows gone": (lambda at: delete(at, "meta/episodes/*/*.parquet"), r"meta/episodes is missing"),
    "tasks cut": (lambda at: truncate(at, "meta/tasks.parquet"), r"tasks.parquet is truncated"),
    "info cut": (lambda at: truncate(at, "meta/info.json"), r"info.json lacks a field"),
    "other robot": (
        lambda at: change_info(at, lambda text: text.replace('"shape":[14]', '"shape":[7]')),
        r"observation.state is of shape \[7\], and only aloha-agilex's 14 numbers can be read",
    ),
    "images": (
        lambda at: change_info(at, lambda text: text.replace('"dtype":"video"', '"dtype":"image"')),
        r"head_camera as images; convert them by `lerobot-edit-dataset --operation.type convert_image_to_video`",
    ),
    "other rate": (
        lambda at: change_info(at, lambda text: text.replace('"fps":25,', '"fps":30,')),
        r"the frames of episode 0 are not 30 per second",
    ),
    "v2.1": (
        lambda at: change_info(at, lambda text: text.replace('"v3.0"', '"v2.1"')),
        r"in LeRobot's format v2.1; convert it, where lerobot is installed, by `python -m lerobot.scripts",
    ),
    "v4": (lambda at: change_info(at, lambda text: text.replace('"v3.0"', '"v4.0"')), r"v4.0; only v3 can be read"),
    "an episode of another file": (
        lambda at: change_rows(at, data__file_index=[7, 7, 7]),
        r"data/chunk-000/file-007.parquet is missing",
    ),
    "an episode past the frames": (
        lambda at: change_rows(at, episode_index=[8, 9, 10]),
        r"file-000.parquet holds 0 frames of episode 8, and its metadata say 12",
    ),
    "an episode longer than its frames": (
        lambda at: change_rows(at, length=[13, 9, 15]),
        r"holds 12 frames of episode 0, and its metadata say 13",
    ),
    "an episode past the video": (
        lambda at: change_rows(at, **{f"videos__{HEAD}__from_timestamp": [1.2, 1.2, 1.2]}),
        r"file-000.mp4 has no frame 1.440 s after its start, where an episode of 12 frames at 25 per second has one",
    ),
}


@pytest.mark.parametrize(("damage", "sentence"), DAMAGE.values(), ids=DAMAGE.keys())
def test_damage_is_one_sentence(tmp_path: Path, damage: Callable[[Path], None], sentence: str) -> None:
    folder = shutil.copytree(WRITTEN, tmp_path / "dataset")
    damage(folder)
    with pytest.raises(UserError, match=sentence) as error:
        for source in find_episodes(folder, ALOHA):
            read_episode(source)
    assert "\n" not in str(error.value)


def test_where_the_cameras_are_must_be_known() -> None:
    with pytest.raises(UserError, match=r"does not say where its cameras are; .* say so by --robot aloha-agilex"):
        find_episodes(WRITTEN)


def test_missing_contacts_are_noticed(exported: Path) -> None:
    (exported / "meta" / "contacts.parquet").unlink()
    with pytest.raises(UserError, match=r"contacts\.parquet is missing"):
        read_episode(find_episodes(exported)[0])


def test_datasets_of_several_frame_rates_are_refused(tmp_path: Path, recorded: Path) -> None:
    shutil.copytree(WRITTEN, recorded / "lerobot")
    with pytest.raises(UserError, match="holds episodes of 17 and 25 frames per second"):
        DemonstrationSet(recorded, TINY, lerobot=ALOHA)
    with pytest.raises(UserError, match="of several frame rates"):
        export(ExportConfig(data=recorded, out=tmp_path / "out", lerobot=ALOHA))


def test_an_export_is_whole_or_not_there(tmp_path: Path, recorded: Path, make_episode: Make) -> None:
    write_episode(episode_path(recorded, 7), make_episode(24, (64, 64), (32, 32)))
    with pytest.raises(UserError, match="images of several sizes"):
        export(ExportConfig(data=recorded, out=tmp_path / "out"))
    assert [path.name for path in tmp_path.iterdir()] == ["recorded"]
    with pytest.raises(UserError, match="recorded: it exists already; choose another folder"):
        export(ExportConfig(data=recorded, out=recorded))
