"""What a Stage I batch holds, against the episode it was read from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from aim_rl.data.dataset import DemonstrationSet
from aim_rl.data.decoding import STD_FLOOR, resize_episode
from aim_rl.data.episode import Episode
from aim_rl.data.files import episode_path, write_episode
from aim_rl.model.presets import PRESETS
from aim_rl.model.text import tokenize
from aim_rl.model.tokenizer import pack
from aim_rl.model.waypoints import decode_waypoints
from envs.errors import UserError
from envs.tabletop.kinematics import endpose

SMALL = PRESETS["small"]
Make = Callable[..., Episode]


@pytest.fixture
def demonstrations(tmp_path: Path, make_episode: Make) -> DemonstrationSet:
    for index, frames in enumerate((24, 30, 26)):
        write_episode(episode_path(tmp_path, index), make_episode(frames, seed=index))
    return DemonstrationSet(tmp_path, SMALL)


def test_observation_and_future_come_from_the_right_frames(
    demonstrations: DemonstrationSet, make_episode: Make
) -> None:
    episode = make_episode(30, seed=1)
    starts = torch.tensor([0, 12, 18, 29])
    batch = demonstrations.batch(24 + starts)
    assert batch["head_camera"].shape == (4, 96, 128, 3) and batch["left_camera"].shape == (4, 64, 64, 3)
    for name in ("qpos", "qpos_measured", "left_endpose", "right_endpose", "head_camera_extrinsic"):
        np.testing.assert_allclose(batch[name].numpy(), getattr(episode, name)[starts], atol=1e-6)
    future = torch.tensor([[8, 16], [20, 28], [26, 29], [29, 29]])  # t + 8 and t + 16, clamped to the last frame
    assert batch["future_rgb"].shape == batch["future_maps"].shape == (4, 2, 3, 80, 64)
    for tile, camera in (((0, 0), "head_camera"), ((60, 5), "left_camera"), ((60, 50), "right_camera")):
        rgb = getattr(episode, camera)[future, 0, 0] / 255
        np.testing.assert_allclose(batch["future_rgb"][..., tile[0], tile[1]].numpy(), rgb, atol=8 / 255)
    # make_contacts: the left arm places at frame 14, the right arm picks at 20, then nothing.
    lit = batch["future_maps"].flatten(-2).amax(-1) > 0.5
    assert lit[:, 0].tolist() == [[True, False, True], [False, True, True], [False] * 3, [False] * 3]
    assert torch.equal(batch["text"][0], tokenize("stack the blocks 1", SMALL))


def test_future_canvas_is_the_one_the_model_packs(tmp_path: Path, make_episode: Make) -> None:
    episode = make_episode()
    rng = np.random.default_rng(0)
    for camera in ("head_camera", "left_camera", "right_camera"):
        image = getattr(episode, camera)
        image[:] = rng.integers(0, 256, image.shape)
    for index in range(2):
        write_episode(episode_path(tmp_path, index), episode)
    demonstrations = DemonstrationSet(tmp_path, SMALL)
    seen = demonstrations.batch(torch.tensor([8, 16]))
    packed = pack(seen["head_camera"], seen["left_camera"], seen["right_camera"], SMALL)
    future = demonstrations.batch(torch.tensor([0]))["future_rgb"][0]
    torch.testing.assert_close(future, packed, atol=0.51 / 255, rtol=0)


def test_waypoints_reach_the_recorded_targets_and_repeat_the_last(
    demonstrations: DemonstrationSet, make_episode: Make
) -> None:
    action = torch.from_numpy(make_episode(30, seed=1).action)
    batch = demonstrations.batch(torch.tensor([24 + 5, 24 + 20]))
    decoded, _ = decode_waypoints(batch["qpos"], batch["waypoints"])
    position = decoded.unflatten(-1, (2, 8))[..., :3]
    reached = torch.tensor([[8, 12, 16, 20], [23, 27, 29, 29]])  # start + 3, 7, 11, 15, clamped
    torch.testing.assert_close(position[:, 3::4], endpose(action[reached])[0], atol=1e-5, rtol=0)


def test_statistics_and_split(demonstrations: DemonstrationSet) -> None:
    assert (demonstrations.episodes, demonstrations.frames) == (3, 80)
    # Fewer than twenty episodes: the last one is held out.
    assert demonstrations.validation.tolist() == list(range(54, 80))
    assert demonstrations.train.tolist() == list(range(54))
    waypoints = demonstrations.batch(demonstrations.train)["waypoints"]
    torch.testing.assert_close(demonstrations.waypoint_mean, waypoints.mean(0))
    assert demonstrations.waypoint_std.shape == (4, 14)
    assert (demonstrations.waypoint_std >= torch.tensor(STD_FLOOR * 2)).all()


def test_chunks_that_hold_a_disturbed_command_are_not_imitated(tmp_path: Path, make_episode: Make) -> None:
    episode = make_episode(40)
    episode.perturbed[20:22] = True
    for index in range(2):
        write_episode(episode_path(tmp_path, index), episode)
    demonstrations = DemonstrationSet(tmp_path, SMALL)
    # A chunk of 16 steps that starts at 5 ends at 20; one that starts at 22 is a recovery worth learning.
    assert demonstrations.train.tolist() == [*range(5), *range(22, 40)]


def test_larger_recordings_are_cropped_and_shrunk_with_their_intrinsics(make_episode: Make) -> None:
    """A marked pixel must stay under the projection of its ray."""
    episode = make_episode(2, head=(240, 320), wrist=(240, 320))
    for camera in ("head_camera", "left_camera"):
        getattr(episode, camera)[:] = 0
        getattr(episode, camera)[:, 150:155, 200:205] = 255
    ray = np.linalg.inv(episode.head_camera_intrinsic[0]) @ [202.5, 152.5, 1]
    small = resize_episode(episode, (96, 128), (64, 64))
    for camera, size in (("head_camera", (96, 128)), ("left_camera", (64, 64))):
        image = getattr(small, camera)[0, :, :, 0].astype(float)
        assert image.shape == size
        rows, columns = np.indices(size) + 0.5
        centre = np.array([(columns * image).sum(), (rows * image).sum()]) / image.sum()
        projected = getattr(small, f"{camera}_intrinsic")[0] @ ray
        # A mark of 1.3 pixels has a centroid good to 0.1; mistaking edges for centres costs 0.35.
        np.testing.assert_allclose(projected[:2], centre, atol=0.1)


def test_unusable_datasets_say_why(tmp_path: Path, make_episode: Make) -> None:
    with pytest.raises(UserError, match="holds no episodes"):
        DemonstrationSet(tmp_path, SMALL)
    write_episode(episode_path(tmp_path, 0), make_episode(head=(48, 64), wrist=(32, 32)))
    with pytest.raises(UserError, match="at least two"):
        DemonstrationSet(tmp_path, SMALL)
    write_episode(episode_path(tmp_path, 1), make_episode(head=(48, 64), wrist=(32, 32)))
    with pytest.raises(UserError, match="64 x 48 px"):
        DemonstrationSet(tmp_path, SMALL)


def test_a_preset_with_history_gets_the_decisions_before(tmp_path: Path, make_episode: Callable[..., Episode]) -> None:
    for index in range(2):
        write_episode(episode_path(tmp_path, index), make_episode(24, seed=index))
    preset = replace(PRESETS["small"], history=2)
    data = DemonstrationSet(tmp_path, preset)
    batch = data.batch(torch.tensor([24 + 20, 24 + 9, 24 + 3]))  # of the second episode; a decision takes 8 frames
    assert batch["past_happened"].tolist() == [[True, True], [False, True], [False, False]]
    now = data.batch(torch.tensor([24 + 4, 24 + 12, 24 + 1, 24 + 0]))
    for row, (past, frame) in enumerate([((0, 0), 0), ((0, 1), 1), ((1, 1), 2), ((2, 0), 3)]):
        assert torch.equal(batch["past_head_camera"][past], now["head_camera"][frame]), row
        assert torch.equal(batch["past_waypoints"][past], now["waypoints"][frame, :2]), row


def test_robotwins_pictures_are_enlarged_to_the_full_size_and_no_further(make_episode: Make) -> None:
    episode = make_episode(2, head=(240, 320), wrist=(240, 320))
    resized = resize_episode(episode, (256, 320), (128, 160))
    assert resized.head_camera.shape == (2, 256, 320, 3) and resized.left_camera.shape == (2, 128, 160, 3)
    focal, centre = episode.head_camera_intrinsic[0, 1, 1] * 256 / 240, (160.0, 128.0)
    np.testing.assert_allclose(resized.head_camera_intrinsic[0, [0, 1], [0, 1]], focal, rtol=1e-6)
    np.testing.assert_allclose(resized.head_camera_intrinsic[0, :2, 2], centre, rtol=1e-6)
    with pytest.raises(UserError, match="320 x 288"):
        resize_episode(episode, (288, 320), (128, 160))
