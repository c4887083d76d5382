"""The diagnosis of a policy: what its episodes are said to have done, and the whole command at the tiny size."""

from __future__ import annotations

import csv
import functools
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from aim_rl.model import AIM, PRESETS
from aim_rl.model.checkpoint import save_checkpoint
from aim_rl.rl.config import RolloutOptions
from aim_rl.rl.policy import AimPolicy
from aim_rl.rollout import seeds
from envs.errors import UserError
from envs.tabletop.env import TabletopEnv
from experiments.diagnose import __main__ as command
from experiments.diagnose import exploration, gradients, probe
from experiments.diagnose.episodes import (
    Episode,
    WatchedEnv,
    interactions,
    kind_of_scene,
    make_envs,
    roll_out,
    table_of_endings,
    table_of_kinds,
    watch,
)
from experiments.diagnose.probe import fit, table_of_probes

TINY = PRESETS["tiny"]


def acted_by_expert(task: str, seed: int) -> WatchedEnv:
    env = WatchedEnv(task, head_size=(24, 32), wrist_size=(16, 16))
    env.restart(seed)
    while not env.control(env.expert_action()):
        assert env.steps < env.step_limit
    return env


def test_the_experts_interactions_have_names() -> None:
    stack = acted_by_expert("stack_blocks_two", 3)
    assert [label for _, label in interactions(stack.recorder)] == [
        "touch red_block",
        "pick red_block",
        "place red_block on table",
        "touch green_block",
        "pick green_block",
        "place green_block on red_block",
    ]
    x = {name: stack.scene.bodies[name].position[0] for name in ("red_block", "green_block")}
    sides = ", ".join(f"{name} {'left' if at < 0 else 'right'}" for name, at in x.items())
    assert kind_of_scene(stack) == sides
    handover = [label for _, label in interactions(acted_by_expert("handover_block", 3).recorder)]
    assert handover.index("pick block") < handover.index("take over block") < handover.index("place block on pad")
    assert interactions(acted_by_expert("click_bell", 3).recorder)[-1][1] == "press bell"


def episode(seed: int, solved: bool, *labels: str) -> Episode:
    kind = "bell left" if seed % 2 else "bell right"
    steps = [(10 * (number + 1), label) for number, label in enumerate(labels)]
    return Episode(seed, kind, solved=solved, interactions=steps, steps=100, held=seed == 3)


def test_every_episode_is_counted_where_it_ended() -> None:
    episodes = [
        episode(0, True, "touch a", "pick a"),
        episode(1, False, "touch a"),
        episode(2, False),
        episode(3, False, "touch a", "pick a"),
    ]
    rows = {row["interaction"]: row for row in table_of_endings(episodes)}
    assert list(rows) == ["start", "touch a", "pick a"]
    assert [row["episodes"] for row in rows.values()] == [4, 3, 2]
    assert [row["of these solved"] for row in rows.values()] == [1, 1, 1]
    assert [row["failed after it"] for row in rows.values()] == [1, 1, 1]
    assert [row["of these holding a body"] for row in rows.values()] == [0, 0, 1]
    kinds = {row["kind of scene"]: row for row in table_of_kinds(episodes)}
    assert kinds["bell right"]["solved"] == 1 and kinds["bell right"]["most failures end after"] == "start (1)"
    assert kinds["bell left"]["episodes"] == 2 and kinds["bell left"]["solved"] == 0


def test_a_probe_finds_what_its_inputs_show_and_nothing_else() -> None:
    torch.manual_seed(1)
    shown, noise = torch.randn(600, 4), torch.randn(600, 4)
    places = 0.1 * shown[:, :3]

    def error(features: torch.Tensor) -> float:
        return (fit(features[:500], places[:500], features[500:]) - places[500:]).norm(dim=1).median().item()

    assert error(shown) < 0.02 < 0.1 < error(noise)


def test_probes_are_tested_on_other_episodes_and_not_on_stuck_arms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each episode's inputs name its place, so a probe that has seen the episode would know it."""
    monkeypatch.setattr(probe, "STEPS", 200)
    episodes = []
    for number in range(8):
        one = episode(number, number % 2 == 0, "touch a")
        place = np.random.default_rng(number).normal(0, 0.1, 3)
        one.positions = [{"a": place}] * 6
        one.inputs = [{"keypoints": torch.nn.functional.one_hot(torch.tensor(number), 8).float()}] * 6
        episodes.append(one)
    rows = table_of_probes(episodes, execute=8, limit=32)
    first, *rest = rows
    assert first["decisions"] == 8 * 4 == sum(row["decisions"] for row in rest)
    assert {(row["episodes"], row["phase"]) for row in rest} == {
        (outcome, phase) for outcome in ("failed", "solved") for phase in ("start", "touch a")
    }
    assert first["keypoints, median"] > 50


def test_a_branch_sees_what_its_episode_saw(tiny_model: AIM) -> None:
    policy = AimPolicy(tiny_model, TINY.execute)
    (one,) = watch(policy, "click_bell", [5])
    envs = make_envs("click_bell", tiny_model, TabletopEnv, 2)
    starts = [one.snapshots[2], one.snapshots[3], 5]
    moments = list(roll_out(policy, envs, starts, limit=2 * TINY.execute))
    for index, at in enumerate((2, 3, 0)):
        mine = [moment for moment in moments if moment.episode == index]
        assert [moment.decision is None for moment in mine] == [False, False, True]
        for moment, inputs in zip(mine, one.inputs[at : at + 2], strict=False):
            assert moment.decision is not None
            now = torch.cat([moment.decision["context_keypoints"], moment.decision["proprio"]])
            torch.testing.assert_close(now, inputs["keypoints"], atol=3e-2, rtol=0)
            other = one.inputs[at + 2]["keypoints"]
            assert (now - other).abs().max() > 1e-1


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_the_command_counts_every_episode_scene_and_try(
    tmp_path: Path, tiny_model: AIM, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path / "stage1", tiny_model, {"task": "click_bell", "stage": 1})
    out = tmp_path / "out"
    arguments = ["--task", "click_bell", "--checkpoint", str(tmp_path / "stage1"), "--out", str(out)]
    counts = {"episodes": 4, "scenes": 2, "tries": 3, "batches": 1, "step-limit": 16, "workers": 1}
    flags = [word for name, count in counts.items() for word in (f"--{name}", str(count))]
    monkeypatch.setattr(sys, "argv", ["diagnose", *arguments, *flags])
    few = functools.partial(RolloutOptions, num_groups=4, envs_per_worker=4)  # 8 episodes per batch instead of 64
    monkeypatch.setattr(command, "RolloutOptions", few)
    monkeypatch.setattr(exploration, "EXPLORED", exploration.EXPLORED[-1:])
    monkeypatch.setattr(gradients, "DRAWS", 1)
    monkeypatch.setattr(probe, "STEPS", 20)
    command.main()
    episodes = rows_of(out / "episodes.csv")
    assert [int(row["seed"]) for row in episodes] == [seeds.VALIDATION + number for number in range(4)]
    solved = sum(row["solved"] == "True" for row in episodes)
    endings = rows_of(out / "endings.csv")
    assert solved + sum(int(row["failed after it"]) for row in endings) == 4
    assert sum(int(row["episodes"]) for row in rows_of(out / "kinds.csv")) == 4
    probes = rows_of(out / "probe.csv")
    assert {row["body"] for row in probes} == {"bell"}
    assert int(probes[0]["decisions"]) == sum(int(row["decisions"]) for row in probes[1:])
    tries = rows_of(out / "tries.csv")
    assert [row["sampler"] for row in tries] == ["none", "flow_noise"]
    assert {(row["scenes"], row["tries each"]) for row in tries[1:]} == {("2", "3")}
    assert len(rows_of(out / "tries_each.csv")) == 2 * 2
    assert {row["chunks"] for row in rows_of(out / "branches_each.csv")} == {"3"}
    for row in rows_of(out / "gradients.csv"):
        assert -1 <= float(row["cosine, mean"]) <= 1 and row["episodes each"] == "8"
    result = json.loads((out / "result.json").read_text())
    assert result["successes"] == solved and len(result["tries"]) == 2
    assert "| interaction | episodes |" in (out / "endings.md").read_text()


def test_counts_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--scenes lie in 1 \.\. --episodes"):
        command.DiagnoseConfig("click_bell", tmp_path, episodes=10)
