"""The action head: denoises the waypoints of a chunk against a world context."""

from torch import Tensor, nn

from aim_rl.model.normaliser import PROPRIO_DIM
from aim_rl.model.presets import Preset
from aim_rl.model.streams import Segment, Stream, mlp, sincos_positions


class ActionHead(nn.Module):
    """The action stream and its conditioning: the part that Stage II trains."""

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        width = preset.width_a
        positions = sincos_positions(preset.n_waypoints, 1, width) if preset.learned_positions else None
        self.stream = Stream(preset, preset.action_dim, width, preset.ffn_a, positions, deep=preset.action_mlp)
        self.proprio = mlp(PROPRIO_DIM, width, width, nn.SiLU())
        self.keypoints = mlp(9 * preset.keypoints, width, width, nn.SiLU()) if preset.keypoints else None

    def forward(self, keypoints: Tensor, proprio: Tensor, waypoints_t: Tensor, t: Tensor, rotation: Tensor) -> Segment:
        """keypoints [B, 9K], proprio [B, 46] (normalised), waypoints_t [B, R, n_waypoints, 14], t [B, R]."""
        state = self.proprio(proprio)
        if self.keypoints is not None:
            state = state + self.keypoints(keypoints)
        condition = self.stream.condition(t[..., None]) + state[:, None, None]
        return Segment("a", self.stream, self.stream.embed(waypoints_t), condition, rotation)
