"""The layout of cohorts: deterministic, within its bounds, and memory computed before running."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.errors import ResourceError
from thalweg.models import InputShape, build, count_params
from thalweg.space import Config
from thalweg.training.plan import Plan, check_memory, make_plan, power_of_two


def plan_of(width=8, depth=1, batch_size=32, num_members=64, workers=2, platform="cpu", **options):
    network = build(Config(width=width, depth=depth).structure(), InputShape(20), 3)
    settings = {
        "batch_size": batch_size,
        "num_members": num_members,
        "steps_per_evaluation": 50,
        "evaluated_rows": 200,
        "num_slots": 2,
        "workers": workers,
        "platform": platform,
        **options,
    }
    return network, make_plan(network, **settings)


@given(
    width=st.sampled_from([1, 8, 64, 512]),
    depth=st.integers(0, 4),
    batch_size=st.sampled_from([1, 16, 256]),
    num_members=st.integers(1, 500),
    workers=st.integers(1, 16),
    platform=st.sampled_from(["cpu", "gpu"]),
)
def test_layouts(width, depth, batch_size, num_members, workers, platform):
    network, plan = plan_of(width, depth, batch_size, num_members, workers, platform)
    assert plan == plan_of(width, depth, batch_size, num_members, workers, platform)[1]
    assert plan.block == plan.width * plan.groups
    assert plan.width == power_of_two(plan.width)
    assert plan.groups >= 1
    assert plan.table_steps >= 1
    # Weights, best weights and two moments at least.
    assert plan.member_bytes >= 4 * 4 * count_params(network)
    if num_members == 1:
        assert plan.block == 1
    if workers > 1 and num_members >= workers and platform == "cpu":
        assert plan.width < 2 * -(-num_members // workers), "one core would train them all"


def test_small_members_go_together_and_large_ones_alone():
    assert plan_of(width=4, batch_size=1)[1].width > plan_of(width=64, batch_size=8)[1].width
    assert plan_of(width=512, depth=2)[1].width == 1


def test_plans_are_recorded():
    _, plan = plan_of()
    assert Plan(**plan.to_dict()) == plan


def test_memory_says_how_many_fit():
    _, plan = plan_of()
    need = check_memory(plan, 10, 1000, 2, 1 << 40)
    assert need >= 1000 + 10 * plan.member_bytes
    assert check_memory(plan, 10, 1000, 2, need) == need
    with pytest.raises(ResourceError) as error:
        check_memory(plan, 10, 1000, 2, need - 1)
    message = str(error.value)
    assert "train at most 9 at once" in message
    assert "\n" not in message
    with pytest.raises(ResourceError, match="at most 0 at once"):
        check_memory(plan, 10, 1 << 30, 2, 1 << 20)


@given(st.floats(0.1, 1e6))
def test_power_of_two(value):
    result = power_of_two(value)
    assert result >= value
    assert result & (result - 1) == 0
    assert result == 1 or result / 2 < value
