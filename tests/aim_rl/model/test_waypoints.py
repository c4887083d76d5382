"""Waypoints: the round trip joints -> waypoints -> end-effector targets, and the rotation maps it rests on."""

from __future__ import annotations

import math

import pytest
import torch

from aim_rl.model.waypoints import decode_waypoints, encode_waypoints, exp_map, log_map, matrix_to_quaternion
from envs.tabletop.kinematics import endpose


def chunk(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    qpos = 0.5 * torch.randn(5, 14, generator=generator)
    qpos[:, [6, 13]] = torch.rand(5, 2, generator=generator)
    targets = qpos[:, None] + torch.cumsum(0.03 * torch.randn(5, 16, 14, generator=generator), 1)
    targets[..., [6, 13]] = torch.rand(5, 16, 2, generator=generator)
    return qpos, targets


def test_decoded_chunk_passes_through_the_poses_the_targets_reach() -> None:
    qpos, targets = chunk()
    actions, commanded_tcp = decode_waypoints(qpos, encode_waypoints(qpos, targets))
    assert actions.shape == (5, 16, 16) and commanded_tcp.shape == (5, 16, 2, 3)
    at_waypoints = torch.tensor([3, 7, 11, 15])
    position, rotation = endpose(targets[:, at_waypoints])
    action = actions[:, at_waypoints].unflatten(-1, (2, 8))
    torch.testing.assert_close(action[..., :3], position, atol=1e-5, rtol=0)
    torch.testing.assert_close(action[..., 3:7], matrix_to_quaternion(rotation), atol=1e-5, rtol=0)
    torch.testing.assert_close(action[..., 7], targets[:, at_waypoints][..., [6, 13]])
    tool = position + rotation @ torch.tensor([0.12, 0.0, 0.0])
    torch.testing.assert_close(commanded_tcp[:, at_waypoints], tool, atol=1e-5, rtol=0)


def test_steps_between_waypoints_are_linear_from_the_commanded_pose() -> None:
    qpos, targets = chunk(1)
    actions, _ = decode_waypoints(qpos, encode_waypoints(qpos, targets))
    actions = actions.unflatten(-1, (2, 8))
    start, rotation = endpose(qpos)
    end, rotation_end = endpose(targets[:, 3])
    torch.testing.assert_close(actions[:, 1, :, :3], (start + end) / 2, atol=1e-5, rtol=0)
    torch.testing.assert_close(actions[:, 1, :, 7], (qpos[:, [6, 13]] + targets[:, 3][:, [6, 13]]) / 2)
    half_turn = exp_map(log_map(rotation_end @ rotation.transpose(-1, -2)) / 2) @ rotation
    torch.testing.assert_close(actions[:, 1, :, 3:7], matrix_to_quaternion(half_turn), atol=1e-5, rtol=0)


def test_standing_still_is_zero_waypoints_and_the_reference_pose() -> None:
    qpos, _ = chunk(2)
    waypoints = encode_waypoints(qpos, qpos[:, None].expand(-1, 16, -1))
    assert waypoints.unflatten(-1, (2, 7))[..., :6].abs().max() < 1e-5
    actions, _ = decode_waypoints(qpos, waypoints)
    torch.testing.assert_close(actions.unflatten(-1, (2, 8))[..., :3], endpose(qpos)[0][:, None].expand(-1, 16, -1, -1))


@pytest.mark.parametrize("angle", [0.0, 1e-7, 1e-4, 0.5, math.pi - 1e-4, math.pi - 1e-7])
def test_log_inverts_exp_up_to_half_a_turn(angle: float) -> None:
    generator = torch.Generator().manual_seed(3)
    axis = torch.nn.functional.normalize(torch.randn(50, 3, generator=generator), dim=-1)
    recovered = log_map(exp_map(angle * axis))
    assert not recovered.isnan().any()
    # At pi an axis and its opposite mean the same turn.
    torch.testing.assert_close(exp_map(recovered), exp_map(angle * axis), atol=3e-6, rtol=0)
    torch.testing.assert_close(recovered.norm(dim=-1), torch.full((50,), angle), atol=1e-5, rtol=0)


def test_gripper_stays_a_valid_command_when_a_sample_overshoots() -> None:
    qpos, targets = chunk(4)
    waypoints = encode_waypoints(qpos, targets)
    waypoints[..., [6, 13]] = torch.tensor([1.7, -0.4])
    actions, _ = decode_waypoints(qpos, waypoints)
    assert actions[..., 7].max() == 1.0 and actions[..., 15].min() == 0.0
