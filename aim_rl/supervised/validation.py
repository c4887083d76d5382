"""Stage I on held-out episodes: losses, errors and a picture."""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor

from aim_rl.data.dataset import DemonstrationSet
from aim_rl.model import AIM, map_peak_error, proprio, sample_chain
from aim_rl.runs.pictures import Image, stage1_picture
from aim_rl.runs.processes import ALONE, Processes
from aim_rl.supervised.config import PretrainConfig

MAX_CHUNKS = 128
PICTURED = 4  # chunks


@torch.no_grad()
def validate(
    model: AIM, data: DemonstrationSet, config: PretrainConfig, processes: Processes = ALONE
) -> tuple[dict[str, float], Image]:
    """Measures a model on held-out chunks; all processes compute the same.

    Returns:
        The losses, `last_waypoint_error_m` (error of the sampled chunk's last waypoint, m) and `map_peak_error_px`
        (error of the head map's peak, canvas px); and a picture of a few chunks.
    """
    model.eval()
    chosen = data.validation[:: max(1, len(data.validation) // MAX_CHUNKS)][:MAX_CHUNKS]
    generator = torch.Generator(processes.device).manual_seed(0)
    found: dict[str, list[Tensor]] = defaultdict(list)
    maps: list[tuple[Tensor, Tensor]] = []
    for part in chosen.split(config.micro_batch or MAX_CHUNKS):
        batch = processes.move(data.batch(part))
        share = len(part) / len(chosen)
        with torch.autocast(processes.device.type, torch.bfloat16, enabled=config.bf16):
            for name, value in model.loss(batch, generator).items():
                found[name].append(share * value)
            predicted, error = _predict(model, batch, generator)
        found["last_waypoint_error_m"].append(share * error)
        maps.append((predicted.cpu(), batch["future_maps"].cpu()))
    guess, truth = (torch.cat(z) for z in zip(*maps, strict=True))
    metrics = {name: torch.stack(values).sum().item() for name, values in found.items()}
    metrics["map_peak_error_px"] = map_peak_error(guess, truth, model.preset)[0].item()
    shown = data.validation[:: max(1, len(data.validation) // PICTURED)][:PICTURED]
    picture = stage1_picture(model, processes.move(data.batch(shown)))
    model.train()
    return metrics, picture


def _predict(model: AIM, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Predicted maps [B, F, 3, H, W] and the mean distance (m) of a sampled chunk's last waypoint to the true one."""
    _, imagined, context = model.imagine(batch, batch["text"], generator, model.history_of(batch, generator))
    state = proprio(batch)
    noise = torch.randn(batch["waypoints"].shape, generator=generator, device=state.device)
    chain = sample_chain(
        lambda waypoints, t: model.action_velocity(context, state, waypoints, t),
        noise,
        model.preset.action_steps,
        shift=model.preset.shift_action,
    )
    errors = (model.waypoints.denormalise(chain[:, -1]) - batch["waypoints"]).unflatten(-1, (2, 7))
    return model.decode_maps(imagined), errors[:, -1, :, :3].norm(dim=-1).mean()
