"""RoboTwin's own files: colours, cameras, joints, instructions and derived contacts, against numbers known by hand.

The files are written here with h5py, field by field as RoboTwin's writers do, and not by `write_episode`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pytest
import torch

from aim_rl.data.dataset import DemonstrationSet
from aim_rl.data.episode import LEFT, RIGHT, Episode
from aim_rl.data.files import episode_path, episode_paths, read_episode, read_header, write_episode
from aim_rl.data.robotwin import gripper_contacts
from aim_rl.data.value_map import canvas_maps
from aim_rl.model import AIM, proprio
from aim_rl.model.checkpoint import load_checkpoint
from aim_rl.model.presets import PRESETS
from aim_rl.model.text import tokenize
from aim_rl.model.waypoints import matrix_to_quaternion
from aim_rl.supervised.config import PretrainConfig
from aim_rl.supervised.trainer import fit_normalisers, pretrain
from envs.constants import PICK, PLACE
from envs.errors import UserError
from envs.tabletop import kinematics as kin

TINY = PRESETS["tiny"]
FRAMES = 14  # as RoboTwin observes them; the last one has no action
SEEN = ["put the red block on the green one", "stack red on green", "put the red block on the green one"]
UNSEEN = ["pile the blocks up"]
RED = (250, 10, 10)

# A camera at (0.1, 0.2, 1.74) that looks straight down, its right the world's +x: OpenGL's axes are the world's.
K = np.array([[100.0, 0, 40], [0, 100, 30], [0, 0, 1]])
CAM2WORLD_GL = np.array([[1.0, 0, 0, 0.1], [0, 1, 0, 0.2], [0, 0, 1, 1.74], [0, 0, 0, 1]])
EXTRINSIC_CV = np.array([[1.0, 0, 0, -0.1], [0, -1, 0, 0.2], [0, 0, -1, 1.74]])
# 1 m below the camera and 10 cm to its right: 100 px * 0.1 m / 1 m right of the image's centre.
BLOCK, PIXEL = np.array([0.2, 0.2, 0.74]), (50, 30)

# Closed at frame 4, open at 8, closed at 13; the right hand is only shaped at 5 and closed at 9.
LEFT_GRIPPER = np.array([1, 1, 0.6, 0.3, 0.1, 0, 0, 0.5, 0.9, 1, 1, 1, 0.4, 0.1])
RIGHT_GRIPPER = np.array([0.0, 0, 0.5, 1, 1, 0.5, 0.5, 1, 0.7, 0, 0, 0, 0, 0])


def vector() -> np.ndarray:
    """Drive targets [14, 14]: joint j of frame t is t + j / 100."""
    joints = np.arange(FRAMES)[:, None] + np.arange(14) / 100.0
    joints[:, 6], joints[:, 13] = LEFT_GRIPPER, RIGHT_GRIPPER
    return joints


def endposes(y: float, frames: int = FRAMES) -> np.ndarray:
    """Endposes [frames, 7] that move 1 cm along x per frame, 0.9 m high, the gripper pointing down."""
    poses = np.zeros((frames, 7))
    poses[:, 0], poses[:, 1], poses[:, 2] = 0.01 * np.arange(frames), y, 0.9
    poses[:, [3, 5]] = np.sqrt(0.5)  # a quarter turn about y takes +x to -z
    return poses


def jpegs(frames: int = FRAMES) -> np.ndarray:
    """A grey picture with a red square around PIXEL, as fixed-length byte strings: RGB through the BGR encoder."""
    rgb = np.full((60, 80, 3), 128, np.uint8)
    rgb[PIXEL[1] - 6 : PIXEL[1] + 6, PIXEL[0] - 6 : PIXEL[0] + 6] = RED
    encoded = cv2.imencode(".jpg", rgb)[1].tobytes()
    return np.array([encoded] * frames, f"S{len(encoded)}")


def write_main(
    root: Path,
    index: int = 0,
    task: str = "stack_blocks_two",
    converted: bool = False,
    joints: np.ndarray | None = None,
) -> Path:
    """`<config>/<task>/<embodiment>/data/episode_0000000.hdf5`, as the collector or the converter writes it."""
    path = root / "demo_clean" / task / "aloha_agilex" / "data" / f"episode_{index:07d}.hdf5"
    path.parent.mkdir(parents=True, exist_ok=True)
    joints, text = (vector() if joints is None else joints).astype(np.float32), h5py.string_dtype("utf-8")
    count = len(joints)
    with h5py.File(path, "w") as file:
        file.attrs["source_format"] = "RoboTwin"
        file.create_dataset("data_format_version", data="v1.0", dtype=text)
        stored = np.array(SEEN, object) if converted else json.dumps(SEEN)
        file.create_dataset("instructions", data=stored, dtype=text)
        file["additional_info/frequency"] = np.int32(15)
        for group, frames in (("state", slice(None, -1)), ("action", slice(1, None))):
            for side, first, y in (("left", 0, 0.1), ("right", 7, -0.1)):
                file[f"{group}/{side}_arm_joint_states"] = joints[frames, first : first + 6]
                file[f"{group}/{side}_ee_joint_states"] = joints[frames, first + 6 : first + 7]
                file[f"{group}/{side}_ee_poses"] = endposes(y, count)[frames].astype(np.float32)
        for camera in ("cam_head", "cam_left_wrist", "cam_right_wrist"):
            file[f"vision/{camera}/colors"] = jpegs(count)[:-1]
            file[f"vision/{camera}/shape"] = np.array([60, 80, 3], np.int32)
            file[f"vision/{camera}/intrinsic_matrix"] = np.tile(K, (count - 1, 1, 1))
            name = "extrinsic_matrix" if converted else "extrinsics_matrix"
            file[f"vision/{camera}/{name}"] = np.tile(CAM2WORLD_GL, (count - 1, 1, 1))
    return path


def write_converted(root: Path, index: int = 0, task: str = "stack_blocks_two") -> Path:
    return write_main(root, index, task, converted=True)


def write_legacy(root: Path, index: int = 0, task: str = "stack_blocks_two", joints: np.ndarray | None = None) -> Path:
    """`<task>/<config>/data/episode0.hdf5` and `<task>/<config>/instructions/episode0.json`."""
    folder = root / task / "demo_clean"
    path, texts = folder / "data" / f"episode{index}.hdf5", folder / "instructions" / f"episode{index}.json"
    for parent in (path.parent, texts.parent):
        parent.mkdir(parents=True, exist_ok=True)
    texts.write_text(json.dumps({"seen": SEEN, "unseen": UNSEEN}))
    with h5py.File(path, "w") as file:
        file["joint_action/vector"] = joints = vector() if joints is None else joints
        count = len(joints)
        for side, y in (("left", 0.1), ("right", -0.1)):
            file[f"endpose/{side}_endpose"] = endposes(y, count)
        for camera in ("head_camera", "left_camera", "right_camera", "front_camera"):
            file[f"observation/{camera}/rgb"] = jpegs(count)
            file[f"observation/{camera}/intrinsic_cv"] = np.tile(K, (count, 1, 1))
            file[f"observation/{camera}/extrinsic_cv"] = np.tile(EXTRINSIC_CV, (count, 1, 1))
            file[f"observation/{camera}/cam2world_gl"] = np.tile(CAM2WORLD_GL, (count, 1, 1))
    return path


Write = Callable[..., Path]
layouts = pytest.mark.parametrize("write", [write_main, write_converted, write_legacy])


def change(path: Path, field: str, value: Any) -> None:
    with h5py.File(path, "r+") as file:
        del file[field]
        if value is not None:
            file[field] = value


@layouts
def test_a_red_block_is_red_and_lies_where_its_point_is_projected(write: Write, tmp_path: Path) -> None:
    episode = read_episode(write(tmp_path))
    for camera in ("head_camera", "left_camera", "right_camera"):
        intrinsic, extrinsic = getattr(episode, f"{camera}_intrinsic")[3], getattr(episode, f"{camera}_extrinsic")[3]
        u, v, depth = intrinsic @ (extrinsic @ [*BLOCK, 1])
        np.testing.assert_allclose((u / depth, v / depth, depth), (*PIXEL, 1.0), atol=1e-4)
        image = getattr(episode, camera)[3]
        assert image.shape == (60, 80, 3)
        assert np.abs(image[PIXEL[1], PIXEL[0]].astype(int) - RED).max() < 20
        assert np.abs(image[PIXEL[1], 80 - PIXEL[0]].astype(int) - 128).max() < 20


@layouts
def test_states_are_commands_and_an_action_is_the_next_of_them(write: Write, tmp_path: Path) -> None:
    path = write(tmp_path)
    episode = read_episode(path)
    assert len(episode) == FRAMES - 1
    np.testing.assert_allclose(episode.qpos[4], [*(4 + np.arange(6) / 100), 0.1, *(4 + np.arange(7, 13) / 100), 1])
    np.testing.assert_array_equal(episode.action[:-1], episode.qpos[1:])
    np.testing.assert_allclose(episode.action[-1, [0, 6, 12]], [13, 0.1, 13.12])
    np.testing.assert_array_equal(episode.qpos_measured, episode.qpos)  # nothing was measured
    np.testing.assert_allclose(episode.right_endpose[2], [0.02, -0.1, 0.9, np.sqrt(0.5), 0, np.sqrt(0.5), 0])
    assert not episode.perturbed.any()
    assert (episode.task, episode.setting, episode.seed) == ("stack_blocks_two", "demo_clean", -1)
    header = read_header(path)
    assert (header.frames, header.task) == (FRAMES - 1, "stack_blocks_two")


@layouts
def test_instructions_are_the_seen_ones_each_once(write: Write, tmp_path: Path) -> None:
    assert read_episode(write(tmp_path)).instructions == SEEN[:2]


@layouts
def test_contacts_are_read_off_the_grippers(write: Write, tmp_path: Path) -> None:
    episode = read_episode(write(tmp_path))
    contacts = episode.contacts
    assert not episode.contacts_recorded
    # The right hand opens from the start and is shaped for its grasp: neither is an event. What the very last
    # action closes has no frame of its own and counts for the last one.
    assert list(zip(contacts.time, contacts.kind, contacts.arm, strict=True)) == [
        (4, PICK, LEFT),
        (8, PLACE, LEFT),
        (9, PICK, RIGHT),
        (12, PICK, LEFT),
    ]
    # 12 cm below the endpose, and there at any time.
    points = [[0.04, 0.1, 0.78], [0.08, 0.1, 0.78], [0.09, -0.1, 0.78], [0.12, 0.1, 0.78]]
    for time in (0, 12):
        np.testing.assert_allclose(contacts.world(np.arange(4), time), points, atol=1e-6)
    head = canvas_maps(episode, np.array([0]))[0, LEFT, :48]
    row, column = np.unravel_index(head.argmax(), head.shape)
    # The first pick, by hand: 6 cm to the left and 10 cm below the image's centre at 0.96 m, shrunk by 0.8.
    np.testing.assert_allclose(
        (column + 0.5, row + 0.5), (0.8 * (40 - 6 / 0.96), 0.8 * (30 + 10 / 0.96)), atol=0.5 + 1e-3
    )


def test_the_tool_centre_is_the_kinematics_own(make_episode: Callable[..., Episode]) -> None:
    episode = make_episode(30)
    qpos = torch.from_numpy(episode.qpos).double()
    positions, rotations = kin.endpose(qpos)
    for arm, side in enumerate(kin.ARMS):
        pose = torch.cat([positions[:, arm], matrix_to_quaternion(rotations[:, arm])], dim=-1)
        setattr(episode, f"{side}_endpose", pose.numpy())
    contacts = gripper_contacts(episode)
    assert len(contacts.time) > 4
    expected = kin.tool_centre(positions, rotations)[contacts.time.tolist(), contacts.arm.tolist()]
    np.testing.assert_allclose(contacts.point, expected, atol=1e-6)


def test_episodes_of_every_layout_are_found_in_order(tmp_path: Path, make_episode: Callable[..., Episode]) -> None:
    own = episode_path(tmp_path / "mine", 0)
    write_episode(own, make_episode(2, head=(8, 8), wrist=(8, 8)))
    legacy = [write_legacy(tmp_path, index) for index in (0, 2, 10)]
    main = write_main(tmp_path)
    (main.parent / "episode_0000000.hdf5.tmp").touch()
    (main.parent / "episodes.hdf5").touch()
    assert episode_paths(tmp_path) == [main, own, *legacy]
    assert episode_paths(tmp_path / "demo_clean") == episode_paths(main.parents[1]) == [main]
    assert episode_paths(legacy[0].parents[1]) == legacy
    # The folders' names are read off the whole path, not off what was typed.
    assert read_header(legacy[0]).task == "stack_blocks_two"


@pytest.mark.parametrize(
    ("write", "field", "value", "words"),
    [
        (write_main, "state/right_ee_poses", None, "no field state/right_ee_poses"),
        (write_main, "additional_info/frequency", 30, "a frame every 30 physics steps"),
        (write_main, "instructions", json.dumps([""]), "comes with no instruction"),
        (write_main, "instructions", "[", "wrong shape or type"),
        (write_main, "state/left_arm_joint_states", np.zeros((13, 7), np.float32), "is of a robot with 15 joint"),
        (write_main, "state/left_ee_joint_states", np.full((13, 1), 50.0), "outside 0 .closed. .. 1"),
        (write_main, "vision/cam_head/colors", np.array([b"\xff\xd8"] * 13), "cannot be decoded"),
        (write_legacy, "joint_action/vector", None, "no field joint_action/vector"),
        (write_legacy, "joint_action/vector", np.zeros((1, 14)), "holds no frame"),
        (write_legacy, "joint_action/vector", np.zeros((14, 16)), "is of a robot with 16 joint"),
        (write_legacy, "joint_action/vector", np.full((14, 14), np.nan), "qpos holds NaN"),
        (write_legacy, "endpose/left_endpose", np.zeros((14, 7)), "unit quaternion"),
        (write_legacy, "endpose/left_endpose", np.zeros((9, 7)), "left_endpose has shape"),
        (write_legacy, "observation/head_camera/extrinsic_cv", np.zeros((14, 4, 4)), "head_camera_extrinsic has shape"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(write: Write, field: str, value: Any, words: str, tmp_path: Path) -> None:
    path = write(tmp_path)
    change(path, field, value)
    with pytest.raises(UserError, match=words) as raised:
        read_episode(path)
    assert "\n" not in str(raised.value) and path.name in str(raised.value)


def test_missing_or_broken_instructions_of_the_legacy_layout(tmp_path: Path) -> None:
    path = write_legacy(tmp_path)
    texts = path.parents[1] / "instructions" / "episode0.json"
    for content, words in (("{", "is no JSON"), ('{"seen": []}', "no instruction"), (None, "gen_episode_instructions")):
        texts.unlink()
        if content is not None:
            texts.write_text(content)
        with pytest.raises(UserError, match=words):
            read_episode(path)
        texts.touch()


@layouts
@pytest.mark.parametrize("keep", [0.3, 0.98])
def test_truncated_file(write: Write, keep: float, tmp_path: Path) -> None:
    path = write(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data))])
    for read in (read_episode, read_header):
        with pytest.raises(UserError, match="truncated or not"):
            read(path)


@pytest.fixture
def three_tasks(tmp_path: Path, make_episode: Callable[..., Episode]) -> Path:
    """A folder of a task of our own, one in main's layout and one in the legacy one, two episodes each."""
    for index in range(2):
        write_episode(episode_path(tmp_path / "mine", index), make_episode(24, (48, 64), (32, 32), seed=index))
        write_main(tmp_path, index, "hanging_mug")
        write_legacy(tmp_path, index, "place_fan")
    return tmp_path


def text_of(ids: torch.Tensor) -> str:
    """The wording behind word ids at the tiny size."""
    wordings = [*SEEN, *UNSEEN, "stack the blocks 0", "stack the blocks 1"]
    return next(text for text in wordings if torch.equal(tokenize(text, TINY), ids))


def test_every_chunk_gets_an_instruction_of_its_own_episode(three_tasks: Path) -> None:
    demonstrations = DemonstrationSet(three_tasks, TINY)
    assert demonstrations.tasks == {"stack_blocks_two", "hanging_mug", "place_fan"}
    assert (demonstrations.episodes, demonstrations.frames) == (6, 4 * 13 + 2 * 24)
    assert demonstrations.derived_contacts == 4
    # Folders in order: hanging_mug's frames, then our own, then place_fan's.
    frames = {"hanging_mug": (0, 25), "mine": (26, 49, 50, 73), "place_fan": (74, 99)}
    drawn = torch.Generator().manual_seed(0)
    for folder, indices in frames.items():
        index = torch.tensor(indices).repeat(40)
        first = [text_of(ids) for ids in demonstrations.batch(index)["text"]]
        texts = [text_of(ids) for ids in demonstrations.batch(index, drawn)["text"]]
        if folder == "mine":
            own = ["stack the blocks 0"] * 2 + ["stack the blocks 1"] * 2
            assert first == texts == own * 40
        else:
            assert set(first) == {SEEN[0]} and set(texts) == set(SEEN)  # never an unseen one


def test_joints_that_were_never_measured_are_not_read_when_they_are(tmp_path: Path) -> None:
    """RoboTwin's files do not say how far a hand lags behind its command; its simulator does, when a policy acts."""
    for index in range(2):
        write_main(tmp_path, index, "hanging_mug")
    data, model = DemonstrationSet(tmp_path, TINY), AIM(TINY)
    fit_normalisers(model, data)
    seen = data.joints(data.train)
    held = {**seen, "qpos_measured": seen["qpos"] + 0.5}
    values = model.proprio_stats.normalise(proprio(held))
    assert values[:, 32:].abs().max() < 1e-3
    assert values[:, [18, 24]].std(0).min() > 0.5  # a commanded joint and the gripper are


def test_validation_has_an_episode_of_every_task(three_tasks: Path) -> None:
    demonstrations = DemonstrationSet(three_tasks, TINY)
    assert demonstrations.validation.tolist() == [*range(13, 26), *range(50, 74), *range(87, 100)]
    assert demonstrations.train.tolist() == [*range(13), *range(26, 50), *range(74, 87)]


def test_a_folder_of_several_tasks_is_refused_for_one(three_tasks: Path) -> None:
    with pytest.raises(UserError, match="hanging_mug, place_fan, stack_blocks_two, not only of stack_blocks_two"):
        DemonstrationSet(three_tasks, TINY, "stack_blocks_two")
    assert DemonstrationSet(three_tasks / "mine", TINY, "stack_blocks_two").episodes == 2
    episode_path(three_tasks / "mine", 1).unlink()
    with pytest.raises(UserError, match="one episode of stack_blocks_two; record at least two"):
        DemonstrationSet(three_tasks, TINY)


def test_a_checkpoint_of_several_tasks_serves_each_of_them(
    three_tasks: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tasks = ["hanging_mug", "place_fan", "stack_blocks_two"]
    run = pretrain(
        PretrainConfig(task="all", data=three_tasks, out=tmp_path / "run", steps=1, batch_size=1, preset="tiny")
    )
    assert "recorded in 2, derived from the grippers in 4" in capsys.readouterr().out
    for task in tasks:
        assert load_checkpoint(run, task)[1]["tasks"] == tasks
    with pytest.raises(UserError, match="trained for hanging_mug, place_fan, stack_blocks_two, not for click_bell"):
        load_checkpoint(run, "click_bell")
