"""What strangers and broken disks hand over: whatever it is, it is used or ends in one typed sentence.

Hundreds of cases each; `-m slow` thousands.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import msgpack
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from aim_rl import finetune, pretrain
from aim_rl.data.files import _fill, episode_path, find_episodes, read_episode, read_header, write_episode
from aim_rl.data.lerobot_export import lerobot_writer
from aim_rl.model import AIM
from aim_rl.model.checkpoint import load_checkpoint, save_checkpoint
from aim_rl.rl.policy import AimPolicy
from aim_rl.rollout.serving import PolicyServer
from aim_rl.rollout.xpolicylab import REPLIES
from aim_rl.runs.config import load_config, parse
from aim_rl.runs.folder import new_run
from aim_rl.supervised.config import PretrainConfig
from envs.actions import check_action
from envs.backend import Backend
from envs.errors import UserError, exit_cleanly
from envs.tabletop.env import TabletopEnv

from .data.conftest import episode_of
from .test_serve import envelope, observed, pack_array, unpack_array

NUMBERS = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from([0, -1, 1, 2**31, 2**63, 1e308])
JSON = st.recursive(
    NUMBERS | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
DAMAGE = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=6)


def fuzz(cases: int, **given_: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], None]:
    """Runs a function on so many cases."""
    quiet = settings(
        max_examples=cases,
        derandomize=cases < 1000,  # the default tests are to fail for the change at hand, not for a new draw
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    return lambda function: quiet(given(**given_)(function))()


def cases(few: int, many: int) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("cases", [few, pytest.param(many, marks=pytest.mark.slow)])


def one_sentence(error: Exception) -> None:
    assert str(error) and "\n" not in str(error), str(error)


def damaged(data: bytes, keep: float, changes: list[tuple[float, int]]) -> bytes:
    """The first part of the bytes, some of them changed."""
    broken = bytearray(data[: round(keep * len(data))])
    for place, value in changes:
        if broken:
            broken[int(place * len(broken))] = value
    return bytes(broken)


def changed(fields: dict[str, Any], nested: str, name: str, value: Any) -> str:
    """The fields as JSON with another value of one of them, or of one inside the field `nested`."""
    if name in fields[nested]:
        name, value = nested, fields[nested] | {name: value}
    return json.dumps(fields | {name: value})


KEEP = st.just(1.0) | st.floats(0, 1)

# -- checkpoints --------------------------------------------------------------------------------------------------


@pytest.fixture
def checkpoint(tmp_path: Path, tiny_model: AIM) -> Path:
    save_checkpoint(tmp_path / "model", tiny_model, {"task": "click_bell", "stage": 1})
    return tmp_path / "model"


@cases(100, 2000)
def test_checkpoints_with_damaged_weights(checkpoint: Path, cases: int) -> None:
    file = checkpoint / "model.safetensors"
    data = file.read_bytes()
    header = 8 + int.from_bytes(data[:8], "little")

    @fuzz(cases, keep=KEEP, changes=DAMAGE, among=st.sampled_from([header, len(data)]))
    def check(keep: float, changes: list[tuple[float, int]], among: int) -> None:
        file.write_bytes(damaged(data[:among], 1.0, changes) + damaged(data[among:], keep, []))
        try:
            load_checkpoint(checkpoint)
        except UserError as error:
            one_sentence(error)


@cases(100, 2000)
def test_checkpoints_with_other_cards(checkpoint: Path, cases: int) -> None:
    file = checkpoint / "config.json"
    metadata = json.loads(file.read_text())

    @fuzz(
        cases,
        name=st.sampled_from([*metadata["preset"]]) | st.sampled_from(["", "task", "tasks", "wan", "preset"]),
        value=JSON,
    )
    def check(name: str, value: Any) -> None:
        file.write_text(changed(metadata, "preset", name, value))
        try:
            load_checkpoint(checkpoint, "click_bell")
        except UserError as error:
            one_sentence(error)


def test_a_checkpoint_that_says_it_is_huge_allocates_nothing(checkpoint: Path) -> None:
    file = checkpoint / "config.json"
    metadata = json.loads(file.read_text())
    file.write_text(
        json.dumps(metadata | {"preset": metadata["preset"] | {"ffn_x": 2**20, "width_x": 2**20}})
    )  # terabytes
    with pytest.raises(UserError, match="holds a model of another size than its config"):
        load_checkpoint(checkpoint)


# -- configurations of runs ---------------------------------------------------------------------------------------


@cases(200, 3000)
def test_configurations_of_runs(tmp_path: Path, cases: int) -> None:
    config = PretrainConfig(task="click_bell", data=Path("data"), out=tmp_path)
    new_run("click_bell", tmp_path, config)
    file = tmp_path / "config.json"
    whole = json.loads(file.read_text())

    @fuzz(cases, name=st.sampled_from([*whole, "more"]), value=JSON, drop=st.booleans())
    def check(name: str, value: Any, drop: bool) -> None:
        changed = {**whole, name: value}
        if drop:
            del changed[name]
        file.write_text(json.dumps(changed))
        try:
            read = load_config(PretrainConfig, tmp_path)
        except UserError as error:
            one_sentence(error)
            return
        for field, kind in (("steps", int), ("ema", float | int), ("task", str), ("data", Path), ("preset", str)):
            assert isinstance(getattr(read, field), kind), field


def test_a_strangers_run_is_gone_on_with_in_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, elsewhere, data = tmp_path / "run", tmp_path / "elsewhere", tmp_path / "data"
    for number in range(2):
        write_episode(episode_path(data, number), episode_of(seed=number))
    small: Any = {"steps": 1, "batch_size": 1, "preset": "tiny"}
    new_run("click_bell", run, PretrainConfig(task="stack_blocks_two", data=data, out=elsewhere, **small))
    monkeypatch.setattr(sys, "argv", ["pretrain", "--resume", str(run)])
    config = parse(PretrainConfig, None)
    assert config.out == elsewhere
    pretrain.pretrain(config)
    assert (run / "checkpoint").exists() and not elsewhere.exists()


def test_a_strangers_run_names_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    simulator = Backend("robotwin", tmp_path, Path("/bin/false"))
    new_run("click_bell", tmp_path / "run", finetune.FinetuneConfig(task="click_bell", simulator=simulator))
    resumed = parse(finetune.FinetuneConfig, None, ["--resume", str(tmp_path / "run")]).simulator
    assert resumed == Backend("robotwin")
    with pytest.raises(UserError, match="needs --robotwin-root DIR and --robotwin-python PYTHON, also beside --resume"):
        resumed.require("click_bell", "clean")


def test_a_strangers_run_does_not_lead_elsewhere(tmp_path: Path) -> None:
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    new_run("click_bell", run, finetune.FinetuneConfig(task="click_bell"))
    elsewhere.mkdir()
    (run / "tensorboard").symlink_to(elsewhere)
    with pytest.raises(UserError, match="tensorboard is a link"):
        parse(finetune.FinetuneConfig, None, ["--resume", str(run)])


@pytest.mark.parametrize("flag", ["--learning-rate", "--ema", "--weight-decay"])
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_numbers_of_the_command_line_are_finite(flag: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["pretrain", "--task", "click_bell", "--data", "d", flag, value])
    with pytest.raises(UserError, match=f"{flag} cannot be {value}"):
        parse(PretrainConfig, None)


@cases(60, 1000)
def test_command_lines(cases: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever is behind a flag, a command starts with values of the right types or says what is wrong and exits 2."""
    flags = [
        "--task",
        "--data",
        "--steps",
        "--batch-size",
        "--ema",
        "--seed",
        "--preset",
        "--visibility",
        "--bf16",
        "-x",
    ]

    @fuzz(cases, flag=st.sampled_from(flags), value=st.text(max_size=8) | NUMBERS.map(str))
    def check(flag: str, value: str) -> None:
        monkeypatch.setattr(sys, "argv", ["pretrain", "--task", "click_bell", "--data", "nowhere", flag, value])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            exit_cleanly(pretrain.main)
        words = capsys.readouterr()
        assert ended.value.code == 2 or (value in ("-h", "--help") and ended.value.code == 0)
        assert "Traceback" not in words.err and (words.err or words.out)


# -- episodes -----------------------------------------------------------------------------------------------------


@pytest.fixture
def episode(tmp_path: Path) -> Path:
    path = episode_path(tmp_path / "dataset", 0)
    write_episode(path, episode_of(head=(48, 64), wrist=(32, 32)))
    return path


def read(path: Path) -> None:
    for reader in (read_header, read_episode):
        try:
            reader(path)
        except UserError as error:
            one_sentence(error)


@cases(100, 5000)
def test_episodes_with_damaged_bytes(episode: Path, cases: int) -> None:
    data = episode.read_bytes()

    @fuzz(cases, keep=KEEP, changes=DAMAGE)
    def check(keep: float, changes: list[tuple[float, int]]) -> None:
        episode.write_bytes(damaged(data, keep, changes))
        read(episode)


FIELDS: list[str] = []
with h5py.File(io.BytesIO(), "w") as _file:
    _fill(_file, episode_of())
    _file.visititems(lambda name, item: FIELDS.append(name) if isinstance(item, h5py.Dataset) else None)
VALUES = npst.arrays(
    st.sampled_from(["u1", "i8", "f4", "f8", "?", "S3", "c8"]), npst.array_shapes(min_dims=0, max_dims=4, max_side=4)
)


@cases(100, 3000)
def test_episodes_with_other_fields(episode: Path, cases: int) -> None:
    data = episode.read_bytes()

    @fuzz(
        cases, name=st.sampled_from(FIELDS), value=VALUES | st.text(max_size=9).map(lambda text: text.replace("\0", ""))
    )
    def check(name: str, value: Any) -> None:
        episode.write_bytes(data)
        with h5py.File(episode, "r+") as file:
            del file[name]
            file[name] = value
        read(episode)


@pytest.mark.parametrize("name", ["state/left_arm_joint_states", "vision/cam_head/colors", "contacts/body_poses"])
def test_an_episode_that_says_it_is_huge_allocates_nothing(episode: Path, name: str) -> None:
    with h5py.File(episode, "r+") as file:
        del file[name]
        file.create_dataset(name, (2**40, 6), "f4", chunks=(1, 6))  # 24 TB, of which nothing is in the file
    for reader in (read_header, read_episode):
        if reader is read_episode or name.startswith("state"):
            with pytest.raises(UserError, match=rf"says that its {name} has shape \(1099511627776, 6\)"):
                reader(episode)


def test_an_image_that_says_it_is_huge_allocates_nothing(episode: Path) -> None:
    with h5py.File(episode, "r+") as file:
        images: Any = file["vision/cam_head/colors"]
        jpeg = bytearray(images[1].tobytes())
        start = jpeg.index(b"\xff\xc0")
        jpeg[start + 5 : start + 9] = (60_000).to_bytes(2, "big") * 2  # 10 GB when decoded
        images[1] = np.frombuffer(bytes(jpeg), np.uint8)
    with pytest.raises(UserError, match="holds an image that cannot be decoded"):
        read_episode(episode)


@pytest.fixture
def lerobot(tmp_path: Path) -> Path:
    with lerobot_writer(tmp_path / "dataset") as writer:
        for seed in range(2):
            writer.add(episode_of(12, head=(32, 32), wrist=(16, 16), seed=seed))
    return tmp_path / "dataset"


@cases(200, 5000)
def test_lerobot_datasets_with_damaged_bytes(lerobot: Path, cases: int) -> None:
    whole = {path: path.read_bytes() for path in sorted(lerobot.rglob("*")) if path.is_file()}

    @fuzz(cases, path=st.sampled_from([*whole]), keep=KEEP, changes=DAMAGE)
    def check(path: Path, keep: float, changes: list[tuple[float, int]]) -> None:
        path.write_bytes(damaged(whole[path], keep, changes))
        try:
            for source in find_episodes(lerobot):
                read_header(source)
                read_episode(source)
        except UserError as error:
            one_sentence(error)
        path.write_bytes(whole[path])


@cases(200, 3000)
def test_lerobot_datasets_with_other_metadata(lerobot: Path, cases: int) -> None:
    path = lerobot / "meta" / "info.json"
    whole = json.loads(path.read_text())

    @fuzz(cases, name=st.sampled_from([*whole, *whole["features"]]), value=JSON)
    def check(name: str, value: Any) -> None:
        path.write_text(changed(whole, "features", name, value))
        try:
            for source in find_episodes(lerobot):
                read_episode(source)
        except UserError as error:
            one_sentence(error)


ROWS = st.lists(NUMBERS | st.text(max_size=4) | st.lists(st.integers(-3, 3), max_size=2), min_size=2, max_size=2)


@cases(200, 3000)
def test_lerobot_datasets_with_other_rows(lerobot: Path, cases: int) -> None:
    (path,) = lerobot.glob("meta/episodes/*/*.parquet")
    whole = pq.read_table(path)
    whole = whole.select([name for name in whole.column_names if not name.startswith("stats/")])

    @fuzz(cases, column=st.integers(0, whole.num_columns - 1), values=ROWS)
    def check(column: int, values: list[Any]) -> None:
        try:
            array = pa.array(values)
        except (pa.ArrowException, OverflowError):
            return
        pq.write_table(whole.set_column(column, whole.column_names[column], array), path)
        try:
            for source in find_episodes(lerobot):
                read_header(source)
                read_episode(source)
        except UserError as error:
            one_sentence(error)


# -- the served protocol ------------------------------------------------------------------------------------------


@pytest.fixture
def server(tiny_model: AIM) -> PolicyServer:
    return PolicyServer(tiny_model, ["stack_blocks_two"], lambda: AimPolicy(tiny_model, tiny_model.preset.execute))


ANY = st.recursive(
    NUMBERS.filter(lambda value: not isinstance(value, int) or -(2**63) <= value < 2**64)
    | st.text(max_size=8)
    | st.binary(max_size=8)
    | VALUES.map(pack_array),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.binary(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
HALF_ARRAYS = st.fixed_dictionaries(
    {b"nd": ANY},
    optional={
        b"type": st.sampled_from(["f4", "(f4", "O", "V8", "U0", "f4,f4", "(3,)f4", "<f4"]) | ANY,
        b"kind": ANY,
        b"shape": st.lists(st.integers(-1, 2**62), max_size=4) | ANY,
        b"data": st.binary(max_size=16) | ANY,
    },
)


def answered(server: PolicyServer, frame: bytes) -> None:
    """An answer that the client can read, and never one that says that the server did not see it coming."""
    answer = server.answer(frame)
    if answer is None:
        return
    reply = msgpack.unpackb(answer, object_hook=unpack_array)
    if reply["message_type"] == "error":
        assert reply["payload"]["code"] != "internal", reply["payload"]["message"]
        assert reply["payload"]["message"]
    else:
        assert reply["message_type"] in REPLIES.values()


@cases(200, 5000)
def test_frames_of_any_bytes(server: PolicyServer, cases: int) -> None:
    whole = msgpack.packb(envelope("infer", {"observation": observed(0)}), default=pack_array)
    edge = st.binary(max_size=64) | st.binary(max_size=6).map(lambda head: head + whole[6:])
    fuzz(cases, frame=edge)(lambda frame: answered(server, frame))
    fuzz(cases, keep=KEEP, changes=DAMAGE)(
        lambda keep, changes: answered(server, damaged(whole[:2000], keep, changes) + whole[2000:])
    )


@cases(200, 5000)
def test_messages_of_any_content(server: PolicyServer, cases: int) -> None:
    @fuzz(cases, kind=st.sampled_from(list(REPLIES)) | ANY, name=st.sampled_from(list(envelope("", {}))), value=ANY)
    def check(kind: Any, name: str, value: Any) -> None:
        answered(server, msgpack.packb({**envelope(kind, {}), name: value}))

    paths = [("vision", "cam_head", "color"), ("state", "left_arm_joint_state"), ("state", "right_ee_pose")]
    paths += [("vision",), ("state",), ("instruction",), ("vision", "cam_left_wrist")]

    @fuzz(cases, path=st.sampled_from(paths), value=ANY | HALF_ARRAYS)
    def check_observation(path: tuple[str, ...], value: Any) -> None:
        message = observed(0)
        part = message
        for name in path[:-1]:
            part = part[name]
        part[path[-1]] = value
        answered(server, msgpack.packb(envelope("infer", {"observation": message}), default=pack_array))

    @fuzz(cases, payload=st.dictionaries(st.sampled_from(["action_type", "task_name", "seed", "success"]), ANY))
    def check_trial(payload: dict[str, Any]) -> None:
        for kind in ("reset", "trial_end", "hello", "prepare_case"):
            answered(server, msgpack.packb(envelope(kind, payload)))


# -- actions ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scenes() -> dict[str, TabletopEnv]:
    made = {}
    for mode in ("joint", "ee", "delta_ee"):
        made[mode] = TabletopEnv("click_bell", head_size=(16, 16), wrist_size=(16, 16), action_mode=mode)
        made[mode].restart(0)
    return made


def actions(size: int) -> st.SearchStrategy[Any]:
    value = st.floats(width=64) | st.floats(-2, 2) | st.sampled_from([0.0, 1e38, -1e38, 1e308, 1e-320])
    right = npst.arrays(np.float64, size, elements=value)
    return right | right.map(np.nan_to_num) | npst.arrays(np.float32, npst.array_shapes(max_dims=2, max_side=20))


@pytest.mark.parametrize("mode", ["joint", "ee", "delta_ee"])
@cases(30, 1000)
def test_actions_move_the_robot_or_say_why_not(scenes: dict[str, TabletopEnv], mode: str, cases: int) -> None:
    env = scenes[mode]

    @fuzz(cases, action=actions(env.action_space.shape[0]))
    def check(action: Any) -> None:
        try:
            env.control(action)
        except ValueError as error:
            one_sentence(error)
        for name, value in env.proprioception().items():
            assert np.isfinite(value).all(), name

    check_robotwin(mode, cases)


def check_robotwin(mode: str, cases: int) -> None:
    """RoboTwin's process gets finite actions alone."""
    size = 16 if mode == "ee" else 14

    @fuzz(cases, action=actions(size))
    def check(action: Any) -> None:
        try:
            sent = check_action(action, mode)
        except ValueError as error:
            one_sentence(error)
        else:
            assert sent.shape == (size,) and np.isfinite(sent).all()
