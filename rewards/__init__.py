"""Dense rewards read off spatial value maps: pure functions on tensors, and two adapters.

The adapters are imported from their own modules, so that the functions need torch alone:
`rewards.gym_wrapper.ValueMapReward` (Gymnasium) and
`rewards.torchrl_transform.ValueMapRewardTransform` (TorchRL).

Pixels: u to the right, v down, pixel (i, j) covers [i, i+1) x [j, j+1), its centre lies at
(i + 0.5, j + 0.5). SAPIEN and RoboTwin deliver intrinsics with cx = W/2, which means the same.
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
