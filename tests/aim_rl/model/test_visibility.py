"""Who may read whom (docs/method.md, "Who reads whom"), by gradients."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from aim_rl.model import TOKEN_KINDS, VISIBLE, Preset, WorldContext, attention_mask, proprio, tokenize
from aim_rl.model.aim import AIM
from aim_rl.model.streams import mixture
from aim_rl.model.visibility import TABLES, kind_ids

from .conftest import observation, randomised

# docs/method.md by hand; rows read columns, in the order of TOKEN_KINDS: past_obs past_act obs x m a
TABLE = [
    "11....",
    "11....",
    "111...",
    "1111..",
    "1.111.",
    ".11.11",
]


def test_table_is_the_papers() -> None:
    by_hand = {
        query: {key for key, cell in zip(TOKEN_KINDS, row, strict=True) if cell == "1"}
        for query, row in zip(TOKEN_KINDS, TABLE, strict=True)
    }
    assert by_hand == VISIBLE


def test_mask_follows_the_table_over_chunks() -> None:
    tokens = ["obs 0", "past_act 0", "x 0", "obs 1", "past_act 1", "x 1", "a 1", "obs 2", "x 2", "m 2", "a 2"]
    by_hand = [
        "1..........",  # an observation sees no action of its own chunk ...
        "11.........",  # ... which comes after it
        "1.1........",
        "11.1.......",
        "11.11......",
        "11.1.1.....",  # nobody sees an earlier chunk's prediction
        ".1.1..1....",
        "11.11..1...",
        "11.11..11..",
        "1..1...111.",  # a map sees past observations, but no past action ...
        ".1..1..1.11",  # ... and an action the other way round
    ]
    names, chunks = zip(*[token.split() for token in tokens], strict=True)
    kinds, chunk = torch.tensor([TOKEN_KINDS.index(name) for name in names]), torch.tensor([int(c) for c in chunks])
    expected = torch.tensor([[cell == "1" for cell in row] for row in by_hand])
    assert torch.equal(attention_mask(kinds, chunk), expected)


def test_no_row_of_the_mask_is_empty() -> None:
    layout = [(kind, 2) for kind in TOKEN_KINDS]
    assert attention_mask(kind_ids(layout)).any(1).all()


class JointForward:
    """All segments in one masked pass: the reference for the cached one, with gradients to every input."""

    def __init__(self, model: AIM, visibility: Mapping[str, frozenset[str]] = VISIBLE) -> None:
        self.model, self.visibility, preset = model, visibility, model.preset
        self.obs = observation(preset, 2)
        self.text = tokenize("put the red block down", preset).expand(2, -1)
        shape = (2, preset.n_future, preset.token_dim)
        dtype = model.x.head.weight.dtype
        self.x, self.m = (torch.randn(shape, dtype=dtype, requires_grad=True) for _ in range(2))
        self.a = torch.randn(2, preset.n_waypoints, preset.action_dim, dtype=dtype, requires_grad=True)
        self.t = torch.tensor([1.0, 0.4], dtype=dtype)

    def __call__(self) -> tuple[Tensor, Tensor, Tensor]:
        """Raw outputs of x, m and a."""
        observed = self.model.observe(self.obs, self.text)
        segments = self.model.world_segments(observed, self.x, self.m, self.t)
        context = WorldContext(torch.empty(0), observed.keypoints)
        action = self.model.action_segment(
            context, proprio(self.obs).to(self.a.dtype), self.a[:, None], self.t[:, None]
        )
        layout = [(segment.kind, segment.count) for segment in (*segments, action)]
        mixture([*segments, action], attention_mask(kind_ids(layout), table=self.visibility))
        return segments[1].read_out(), segments[2].read_out(), action.read_out()

    def sensitivity(self, output: int, source: Tensor) -> float:
        (gradient,) = torch.autograd.grad(
            self()[output].square().sum(), source, allow_unused=True, materialize_grads=True
        )
        return float(gradient.abs().max())


X, M, A = 0, 1, 2


def without(query: str, key: str) -> dict[str, frozenset[str]]:
    return {**VISIBLE, query: VISIBLE[query] - {key}}


def test_the_future_reaches_the_action_only_through_the_map(deep: Preset) -> None:
    model = randomised(deep).double()
    joint = JointForward(model)
    assert joint.sensitivity(A, joint.x) > 0
    assert joint.sensitivity(A, joint.m) > 0
    assert joint.sensitivity(M, joint.x) > 0
    blind = JointForward(model, without("a", "m"))
    assert blind.sensitivity(A, blind.x) == 0
    assert blind.sensitivity(A, blind.m) == 0


def test_nothing_reads_backwards(deep: Preset) -> None:
    joint = JointForward(randomised(deep).double())
    assert joint.sensitivity(M, joint.a) == 0
    assert joint.sensitivity(X, joint.m) == 0
    assert joint.sensitivity(X, joint.a) == 0


def test_the_ablations_tables_do_what_their_names_say(deep: Preset) -> None:
    blind = JointForward(randomised(replace(deep, visibility="no_map")).double(), TABLES["no_map"])
    assert blind.sensitivity(A, blind.m) == 0 == blind.sensitivity(A, blind.x)
    assert blind.sensitivity(M, blind.x) > 0  # the map itself is predicted as before
    full = JointForward(randomised(replace(deep, visibility="full")).double(), TABLES["full"])
    for query, key in ((A, full.x), (A, full.m), (X, full.m), (M, full.x)):
        assert full.sensitivity(query, key) > 0
    assert full.sensitivity(X, full.a) == 0 == full.sensitivity(M, full.a)
    with pytest.raises(ValueError, match="intent_causal, full, no_map"):
        replace(deep, visibility="none")


def test_an_observation_that_reads_the_future_is_caught(deep: Preset) -> None:
    leaky = {**without("a", "m"), "obs": VISIBLE["obs"] | {"x"}}
    joint = JointForward(randomised(deep).double(), leaky)
    assert joint.sensitivity(A, joint.x) > 0


def test_action_is_bit_identical_while_observation_and_map_are_frozen(deep: Preset) -> None:
    """Whatever happens to the future frames or the words, the context's m part alone carries it."""
    model = randomised(deep)
    joint = JointForward(model)
    state = proprio(joint.obs)

    def action_and_context(x: Tensor, text: Tensor, frozen: Tensor | None) -> tuple[Tensor, Tensor]:
        _, _, context = model.encode_world(model.observe(joint.obs, text), x, joint.m, joint.t)
        kv = context.kv.clone()
        if frozen is not None:
            kv[..., deep.n_obs :, :] = frozen[..., deep.n_obs :, :]
        return model.action_velocity(context._replace(kv=kv), state, joint.a, joint.t), context.kv

    action, kv = action_and_context(joint.x, joint.text, None)
    other_text = tokenize("ring the bell", deep).expand(2, -1)
    for x, text in ((joint.x + 1, joint.text), (joint.x, other_text)):
        assert not torch.equal(action_and_context(x, text, None)[0], action)
        held, moved_kv = action_and_context(x, text, kv)
        assert torch.equal(held, action)
        assert torch.equal(moved_kv[..., : deep.n_obs, :], kv[..., : deep.n_obs, :])


@pytest.mark.parametrize("readable", [{"obs", "m", "a"}, {"obs", "x", "m", "a"}])
def test_context_path_equals_the_full_masked_forward(deep: Preset, readable: set[str]) -> None:
    table = {**VISIBLE, "a": frozenset(readable)}
    model = randomised(deep, visibility=table)
    joint = JointForward(model, table)
    _, _, full = joint()
    _, _, context = model.encode_world(model.observe(joint.obs, joint.text), joint.x, joint.m, joint.t)
    segment = model.action_segment(context, proprio(joint.obs), joint.a[:, None], joint.t[:, None])
    mixture([segment], None, context.kv)
    torch.testing.assert_close(segment.read_out(), full, atol=1e-5, rtol=1e-5)
