"""Dense rewards from spatial value maps: pure functions on tensors, and two adapters (docs/rewards.md).

Import the adapters from their own modules; the functions need torch alone:
`rewards.gym_wrapper.ValueMapReward` (Gymnasium) and
`rewards.torchrl_transform.ValueMapRewardTransform` (TorchRL).

Pixels: u points right, v down. Pixel (i, j) covers [i, i+1) x [j, j+1) and has its centre at (i + 0.5, j + 0.5).
Intrinsics of SAPIEN and RoboTwin follow this convention (cx = W/2).
"""

from rewards.maps import MAPS, MapSource, events
from rewards.projection import project, rescale_intrinsic
from rewards.response import MapResponses, map_response, map_responses, settled_response, tcp_response
from rewards.shaping import SHAPINGS, Episode, RewardConfig, Shaping, chunk_reward, chunk_sum, dense_reward

__all__ = [
    "MAPS",
    "SHAPINGS",
    "Episode",
    "MapResponses",
    "MapSource",
    "RewardConfig",
    "Shaping",
    "chunk_reward",
    "chunk_sum",
    "dense_reward",
    "events",
    "map_response",
    "map_responses",
    "project",
    "rescale_intrinsic",
    "settled_response",
    "tcp_response",
]
