"""Domains, Config, Structure and Space: round trips, bounds, files, and what the errors say."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import kstest, truncnorm

from thalweg import space as spaces
from thalweg.errors import SpaceError, ThalwegError
from thalweg.space import (
    HYPERPARAMETERS,
    Choice,
    Config,
    Float,
    Int,
    Space,
    Structure,
    Switch,
)

units = st.floats(0.0, 1.0, exclude_max=True)
numbers = st.floats(-1e6, 1e6, allow_nan=False)
positive = st.floats(1e-9, 1e9)


def one_line(error: pytest.ExceptionInfo[BaseException]) -> str:
    """Return the message, after checking that it is one line that a person can act on."""
    message = str(error.value)
    assert isinstance(error.value, ThalwegError)
    assert isinstance(error.value, ValueError)
    assert message
    assert "\n" not in message
    return message


@st.composite
def floats(draw):
    log = draw(st.booleans())
    low, high = sorted(draw(st.tuples(*[positive if log else numbers] * 2)))
    step = draw(st.none() | st.floats(1e-3, 10.0)) if high - low < 1e4 else None
    return Float(low, high, log=log, step=step)


@st.composite
def ints(draw):
    log = draw(st.booleans())
    low, high = sorted(draw(st.tuples(*[st.integers(1 if log else -1000, 5000)] * 2)))
    return Int(low, high, log=log, step=draw(st.integers(1, 7)))


choices = st.lists(
    st.text(max_size=5) | st.integers() | st.booleans(), min_size=1, max_size=6, unique_by=hash
).map(Choice)


# ---------------------------------------------------------------------------------------- domains


class TestDomains:
    @given(floats(), units)
    def test_float_decodes_inside_its_bounds(self, domain, unit):
        assert domain.contains(domain.decode(unit))

    @given(ints() | choices, units)
    def test_discrete_domains_decode_to_members(self, domain, unit):
        value = domain.decode(unit)
        assert domain.contains(value)
        assert domain.decode(min(domain.encode(value), math.nextafter(1, 0))) == value

    @given(floats(), units)
    def test_float_round_trip(self, domain, unit):
        assume(domain.step is None)
        value = domain.decode(unit)
        span = domain.high - domain.low
        assert 0.0 <= domain.encode(value) <= 1.0 + 1e-12
        assert domain.decode(domain.encode(value)) == pytest.approx(
            value, rel=1e-9, abs=1e-12 * span
        )

    @given(st.floats(-100, 100), st.floats(0.01, 5), st.integers(0, 50), units)
    def test_float_step_counts_from_low(self, low, step, count, unit):
        domain = Float(low, low + step * count, step=step)
        steps = (domain.decode(unit) - low) / step
        assert steps == pytest.approx(round(steps), abs=1e-6)

    @pytest.mark.parametrize("log", [False, True])
    def test_float_is_monotone_and_reaches_both_ends(self, log):
        domain = Float(1e-4, 1e-1, log=log)
        values = [domain.decode(u) for u in np.linspace(0, 1, 101)]
        assert values == sorted(values)
        assert values[0] == pytest.approx(1e-4)
        assert values[-1] == pytest.approx(1e-1)
        middle = math.sqrt(1e-5) if log else 0.5 * (1e-4 + 1e-1)
        assert values[50] == pytest.approx(middle)

    def test_int_gives_every_value_the_same_share(self):
        draws = np.array([Int(3, 7).decode(u) for u in np.random.default_rng(0).random(20_000)])
        counts = np.bincount(draws, minlength=8)[3:]
        assert counts.sum() == 20_000
        np.testing.assert_allclose(counts / 20_000, 0.2, atol=0.015)

    def test_log_int_gives_equal_shares_to_equal_ratios(self):
        draws = np.array(
            [Int(1, 64, log=True).decode(u) for u in np.random.default_rng(0).random(20_000)]
        )
        assert draws.min() == 1
        assert draws.max() == 64
        # ln(8.5/0.5) of ln(64.5/0.5): up to and including 8.
        share = math.log(8.5 / 0.5) / math.log(64.5 / 0.5)
        assert np.mean(draws <= 8) == pytest.approx(share, abs=0.015)

    @given(ints())
    def test_int_step_reaches_the_last_allowed_value(self, domain):
        last = domain.low + domain.step * ((domain.high - domain.low) // domain.step)
        assert domain.decode(math.nextafter(1, 0)) == last
        assert domain.decode(0.0) == domain.low

    @given(ints() | choices | floats(), st.integers(1, 9))
    def test_grids_lie_in_the_domain_without_repeats(self, domain, num):
        values = domain.grid(num)
        assert values
        assert len(set(values)) == len(values)
        assert all(domain.contains(value) for value in values)
        if isinstance(domain, Choice):
            assert values == list(domain.options)
        else:
            assert len(values) <= num

    @given(floats(), numbers)
    def test_contains_is_the_closed_interval(self, domain, value):
        assert domain.contains(value) == (domain.low <= value <= domain.high)
        assert not domain.contains("0.5")
        assert not domain.contains(True)
        assert not domain.contains(math.nan)

    @pytest.mark.parametrize(
        ("make", "says"),
        [
            (lambda: Float(0.1, 0.001), "low=0.1, high=0.001: swap them"),
            (lambda: Float(0.0, 1.0, log=True), "low > 0"),
            (lambda: Float(0.0, math.inf), "finite"),
            (lambda: Float(math.nan, 1.0), "finite"),
            (lambda: Float("a", 1.0), "finite"),  # type: ignore[arg-type]
            (lambda: Float(0.0, 1.0, step=0.0), "step must be a positive number"),
            (lambda: Int(1.5, 3), "whole number"),  # type: ignore[arg-type]
            (lambda: Int(True, 3), "whole number"),
            (lambda: Int(5, 3), "swap them"),
            (lambda: Int(0, 3, log=True), "low > 0"),
            (lambda: Choice([]), "at least one"),
            (lambda: Choice(["a", "a"]), "repeat"),
            (lambda: Choice("adam"), "list"),
            (lambda: Choice(3), "list"),  # type: ignore[arg-type]
        ],
    )
    def test_errors_state_rule_values_and_remedy(self, make, says):
        with pytest.raises(SpaceError) as error:
            make()
        assert says in one_line(error)

    def test_domains_are_values(self):
        assert Float(0, 1) == Float(0, 1)
        assert len({Int(1, 3), Int(1, 3), Choice(["a"]), Choice(["a"])}) == 2
        switch = Switch("optimizer", {"sgd": Float(0.1, 1.0)}, Float(0.1, 0.2))
        assert hash(switch) == hash(Switch("optimizer", {"sgd": Float(0.1, 1.0)}, Float(0.1, 0.2)))


# ---------------------------------------------------------------------------- names and their rules


class TestHyperparameters:
    def test_every_name_of_the_optimizers_is_known(self):
        from thalweg.optim.external import EXTERNAL
        from thalweg.optim.rules import RULES

        named = {name for rule in RULES.values() for name in rule.hyperparameters}
        named |= {name for rule in EXTERNAL.values() for name in rule.hyperparameters}
        assert named <= HYPERPARAMETERS.keys()
        assert not any(HYPERPARAMETERS[name].structural for name in named)

    def test_every_name_of_the_schedules_is_known(self):
        from thalweg.optim.schedules import SCHEDULES

        named = {name for schedule in SCHEDULES.values() for name in schedule.hyperparameters}
        assert named <= HYPERPARAMETERS.keys()

    def test_every_name_of_the_losses_is_known_with_the_same_default(self):
        from thalweg.optim.losses import LOSSES

        for family in LOSSES.values():
            for loss in family.values():
                for name, default in loss.hyperparameters.items():
                    assert HYPERPARAMETERS[name].default == default

    def test_the_defaults_of_owners_pass_their_checks(self):
        from thalweg.optim.external import EXTERNAL
        from thalweg.optim.rules import RULES
        from thalweg.optim.schedules import SCHEDULES

        for owner in [*RULES.values(), *EXTERNAL.values(), *SCHEDULES.values()]:
            Config(dict(owner.hyperparameters))

    @pytest.mark.parametrize("name", HYPERPARAMETERS)
    def test_own_defaults_pass_their_checks(self, name):
        known = HYPERPARAMETERS[name]
        if known.default is not None:
            assert known.check(known.default)
        assert known.about
        assert known.rule
        assert "\n" not in known.about + known.rule

    def test_names_equal_the_keys_of_what_they_name(self):
        from thalweg.nn.layers import ACTIVATIONS

        assert set(spaces.ACTIVATIONS) == set(ACTIVATIONS)
        for name in spaces.INITIALISERS:
            Config(init=name)
        for name in spaces.NORMALISATIONS:
            Config(normalisation=name)


# ------------------------------------------------------------------------------------------ Config


class TestConfig:
    @pytest.mark.parametrize(
        ("values", "says"),
        [
            ({"learning_rat": 0.1}, "did you mean 'learning_rate'?"),
            ({"qwerty": 0.1}, "thalweg info --space"),
            ({"learning_rate": -0.1}, "learning_rate must be from 0"),
            ({"learning_rate": "fast"}, "got 'fast'"),
            ({"learning_rate": math.nan}, "got nan"),
            ({"momentum": 1.0}, "[0, 1)"),
            ({"dropout": 1.0}, "[0, 1)"),
            ({"dropout": True}, "got True"),
            ({"depth": 1.5}, "whole number"),
            ({"depth": -1}, "whole number"),
            ({"width": 0}, "whole number from 1"),
            ({"width": ()}, "whole number from 1"),
            ({"width": (8, 0)}, "whole number from 1"),
            ({"activation": "rellu"}, "one of relu"),
            ({"batch_size": 0}, "'full'"),
            ({"batch_size": "half"}, "'full'"),
            ({"residual": 1}, "true or false"),
            ({"clip_norm": 0.0}, "above 0"),
            ({"quantile": 1.0}, "(0, 1)"),
            ({"optimizer": ""}, "name of an optimizer"),
            ({"init": "he"}, "one of he_normal"),
            ({"eps": [1e-8]}, "0 or more"),
        ],
    )
    def test_errors_state_rule_values_and_remedy(self, values, says):
        with pytest.raises(SpaceError) as error:
            Config(values)
        assert says in one_line(error)

    def test_keywords_win_and_defaults_fill_in(self):
        config = Config({"depth": 1, "width": 4}, width=8)
        assert dict(config) == {"depth": 1, "width": 8}
        assert config.get_or_default("activation") == "relu"
        assert config.get_or_default("width") == 8
        assert config.with_values(width=9)["width"] == 9
        assert config["width"] == 8

    def test_is_a_value(self):
        a, b = Config(depth=1, width=(4, 4)), Config(width=[4, 4], depth=1)
        assert a == b
        assert hash(a) == hash(b)
        assert a == {"depth": 1, "width": (4, 4)}
        assert a != Config(depth=2)
        with pytest.raises(TypeError):
            a["depth"] = 3  # type: ignore[index]

    def test_numpy_scalars_become_plain(self):
        config = Config(depth=np.int64(3), learning_rate=np.float32(0.5), residual=np.bool_(True))
        assert json.loads(json.dumps(config.to_dict())) == {
            "depth": 3,
            "learning_rate": 0.5,
            "residual": True,
        }

    @pytest.mark.parametrize("width", [16, (8, 4, 2)])
    def test_json_round_trip(self, width):
        config = Config(width=width, clip_norm=math.inf, clip_value=0.5, batch_size="full")
        record = json.loads(json.dumps(config.to_dict(), allow_nan=False))
        again = Config(record)
        assert again == config
        assert hash(again) == hash(config)
        assert again["clip_norm"] == math.inf

    def test_structure_holds_the_structural_part_alone(self):
        one = Config(depth=2, width=8, learning_rate=0.1, optimizer="adam", dropout=0.5)
        two = one.with_values(learning_rate=0.9, optimizer="sgd", dropout=0.0, init="orthogonal")
        assert one.structure() == two.structure()
        for name, other in {
            "depth": 3,
            "width": 16,
            "activation": "tanh",
            "normalisation": "layer",
            "residual": True,
            "batch_size": 7,
        }.items():
            assert one.with_values(**{name: other}).structure() != one.structure(), name

    def test_external_optimizers_are_structural(self):
        config = Config(optimizer="muon")
        assert config.structure().external is None
        assert config.structure(("muon",)).external == "muon"

    def test_linear_models_have_one_structure_whatever_the_width(self):
        a = Config(model="linear", width=8, depth=1)
        b = Config(model="linear", width=64, depth=3, activation="tanh")
        assert a.structure() == b.structure()
        assert a.structure().widths == ()

    @pytest.mark.parametrize(
        ("structure", "name", "widths"),
        [
            (Structure(), "mlp-2x128-relu-b32", (128, 128)),
            (Structure(depth=3, width=(8, 4, 2)), "mlp-8-4-2-relu-b32", (8, 4, 2)),
            (
                Structure(
                    depth=1,
                    width=8,
                    activation="tanh",
                    normalisation="batch",
                    residual=True,
                    batch_size="full",
                    external="muon",
                ),
                "mlp-1x8-tanh-batch-residual-full-muon",
                (8,),
            ),
            (Structure(model="linear", depth=0, width=()), "linear-b32", ()),
            (Structure(depth=0), "mlp-0-relu-b32", ()),
            (
                Structure(
                    "gru",
                    1,
                    64,
                    options=(
                        ("bidirectional", True),
                        ("embedding_size", 32),
                        ("head_width", 0),
                        ("last", "max"),
                    ),
                ),
                "gru-1x64-relu-bidirectional-embedding32-last=max-b32",
                (64,),
            ),
        ],
    )
    def test_structure_names(self, structure, name, widths):
        assert structure.name == name
        assert structure.widths == widths

    def test_a_list_of_widths_sets_the_depth(self):
        structure = Config(width=(8, 4, 2), depth=7).structure()
        assert structure.depth == 3
        assert structure.widths == (8, 4, 2)


# ------------------------------------------------------------------------------------------- Space


def sample_space() -> Space:
    return Space(
        optimizer=Choice(["adam", "sgd", "lion"]),
        learning_rate=Switch(
            "optimizer",
            {"sgd": Float(1e-2, 1.0, log=True), "lion": Float(1e-5, 1e-3, log=True)},
            Float(1e-4, 3e-2, log=True),
        ),
        momentum=Switch("optimizer", {"sgd": Float(0.0, 0.99)}),
        depth=Int(1, 3),
        width=Choice([8, (4, 2)]),
        dropout=Float(0.0, 0.5, step=0.1),
        batch_size=16,
    )


class TestSpace:
    @given(st.lists(units, min_size=6, max_size=6))
    def test_decoded_configs_lie_inside_and_encode_back(self, point):
        space = sample_space()
        assert space.free == (
            "optimizer",
            "learning_rate",
            "momentum",
            "depth",
            "width",
            "dropout",
        )
        (config,) = space.decode([point])
        assert space.contains(config)
        assert ("momentum" in config) == (config["optimizer"] == "sgd")
        assert config["batch_size"] == 16
        low, high = {"adam": (1e-4, 3e-2), "sgd": (1e-2, 1.0), "lion": (1e-5, 1e-3)}[
            config["optimizer"]
        ]
        assert low <= config["learning_rate"] <= high
        code = space.encode(config)
        assert np.isnan(code[2]) == ("momentum" not in config)
        (again,) = space.decode([np.minimum(np.nan_to_num(code, nan=0.5), math.nextafter(1, 0))])
        assert again.keys() == config.keys()
        for name in config:
            assert again[name] == pytest.approx(config[name]), name

    def test_contains_rejects_what_is_outside(self):
        space = sample_space()
        (config,) = space.decode([[0.0] * 6])
        assert not space.contains(config.with_values(depth=4))
        assert not space.contains(config.with_values(learning_rate=0.5))
        assert not space.contains(config.with_values(momentum=0.5))
        assert not space.contains(config.with_values(ema=0.9))

    def test_a_space_of_fixed_values_decodes_to_one_config(self):
        space = Space(depth=1, width=8)
        assert space.free == ()
        assert space.decode([[0.3], [0.9]]) == [Config(depth=1, width=8)] * 2
        assert space.encode(Config(depth=1, width=8)).shape == (0,)

    def test_with_domains_replaces_and_adds(self):
        space = Space(depth=Int(1, 3)).with_domains(depth=2, width=Choice([4, 8]))
        assert space.free == ("width",)
        assert len(space) == 2

    def test_dict_round_trip(self):
        space = sample_space()
        record = json.loads(json.dumps(space.to_dict()))
        again = Space.from_dict(record)
        points = np.random.default_rng(0).random((50, 6))
        assert again.decode(points) == space.decode(points)

    def test_cases_of_numbers_and_booleans_survive_as_text(self):
        space = Space(
            depth=Int(1, 3),
            residual=Choice([True, False]),
            width=Switch("depth", {1: Choice([64]), 3: Choice([8])}, Choice([32])),
            dropout=Switch("residual", {True: Float(0.2, 0.4)}),
        )
        again = Space.from_dict(json.loads(json.dumps(space.to_dict())))
        points = np.random.default_rng(0).random((50, len(space.free)))
        assert again.decode(points) == space.decode(points)
        assert {c["width"] for c in again.decode(points)} == {64, 32, 8}

    def test_toml_file(self, tmp_path):
        path = tmp_path / "space.toml"
        path.write_text(
            """
            [space]
            optimizer = ["adam", "sgd"]
            batch_size = 16
            depth = { low = 1, high = 3 }
            width = { choices = [8, [4, 2]] }
            activation = { value = "tanh" }
            dropout = { low = 0, high = 1e-1, step = 0.05 }
            momentum = { low = 0.0, high = 0.9, when = { optimizer = ["sgd"] } }

            [space.learning_rate]
            on = "optimizer"
            default = { low = 1e-4, high = 1e-2, log = true }
            [space.learning_rate.cases]
            sgd = { low = 1e-2, high = 1.0, log = true }
            """
        )
        space = Space.load(path)
        assert space["depth"] == Int(1, 3)
        assert space["dropout"] == Float(0.0, 0.1, step=0.05)
        assert space["width"] == Choice([8, (4, 2)])
        assert space["momentum"] == Switch("optimizer", {"sgd": Float(0.0, 0.9)})
        assert space["learning_rate"] == Switch(
            "optimizer", {"sgd": Float(1e-2, 1.0, log=True)}, Float(1e-4, 1e-2, log=True)
        )
        assert {c["activation"] for c in space.decode(np.random.default_rng(0).random((9, 6)))} == {
            "tanh"
        }

    def test_json_file_and_flat_toml(self, tmp_path):
        flat = tmp_path / "flat.toml"
        flat.write_text("depth = {low = 1, high = 2}\n")
        as_json = tmp_path / "space.json"
        as_json.write_text(json.dumps({"space": {"depth": {"low": 1, "high": 2}}}))
        assert Space.load(flat).to_dict() == Space.load(as_json).to_dict()

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("learning_rate = {low = 0.1}", "learning_rate: a domain needs low and high"),
            ("learning_rate = {low = 1.0, high = 0.1}", "swap them"),
            ("learning_rate = {low = 0.0, high = 0.1, log = true}", "low > 0"),
            ("learning_rate = {low = 0.1, hihg = 1.0}", "did you mean 'high'?"),
            ("learning_rate = {low = 'a', high = 1.0}", "learning_rate"),
            ("learning_rate = {low = 0.1, high = -1}", "swap them"),
            ("learningrate = 0.1", "did you mean 'learning_rate'?"),
            ("depth = {low = 0.5, high = 3}", "whole number"),
            ("dropout = {low = 0.0, high = 1.0}", "[0, 1)"),
            ("activation = ['relu', 'swish']", "one of relu"),
            ("optimizer = []", "at least one"),
            ("optimizer = {choices = 'adam'}", "list"),
            ("momentum = {low = 0.0, high = 0.9, when = {optimizer = ['sgd']}}", "stand before"),
            ("momentum = {low = 0.0, high = 0.9, when = 'sgd'}", "when"),
            ("optimizer = ['sgd']\nmomentum = {cases = {sgd = 0.5}}", "add 'on'"),
            ("optimizer = ['sgd']\nmomentum = {cases = 3, on = 'optimizer'}", "cases"),
            ("dropout = {low = 0.0, high = 0.5, step = 'x'}", "positive number"),
            ("depth = {low = 1, high = 3, step = 0}", "positive number"),
            ("depth = ", "not valid"),
        ],
    )
    def test_bad_files_give_one_line(self, tmp_path, text, says):
        path = tmp_path / "space.toml"
        path.write_text(text)
        with pytest.raises(SpaceError) as error:
            Space.load(path)
        assert says in one_line(error)

    def test_files_that_cannot_be_read(self, tmp_path):
        with pytest.raises(SpaceError) as error:
            Space.load(tmp_path / "none.toml")
        assert "cannot be read" in one_line(error)
        binary = tmp_path / "binary.toml"
        binary.write_bytes(b"\xff\xfe\x00\x01")
        with pytest.raises(SpaceError) as error:
            Space.load(binary)
        assert "not valid" in one_line(error)
        a_list = tmp_path / "list.json"
        a_list.write_text("[1, 2]")
        with pytest.raises(SpaceError) as error:
            Space.load(a_list)
        assert "table" in one_line(error)
        nested = tmp_path / "nested.json"
        nested.write_text('{"space": 3}')
        with pytest.raises(SpaceError) as error:
            Space.load(nested)
        assert "table" in one_line(error)

    def test_a_switch_must_stand_after_what_it_looks_at(self):
        with pytest.raises(SpaceError) as error:
            Space({"momentum": Switch("optimizer", {"sgd": Float(0, 0.9)}), "optimizer": "sgd"})
        assert "after it" in one_line(error)
        with pytest.raises(SpaceError) as error:
            Space(momentum=Switch("optimizer", {"sgd": Float(0, 0.9)}))
        assert "nowhere" in one_line(error)

    def test_is_a_mapping_and_shows_itself(self):
        space = Space(depth=Int(1, 2))
        assert dict(space) == {"depth": Int(1, 2)}
        assert "depth=Int(low=1, high=2" in repr(space)


# ------------------------------------------------------------------------------------------ priors


@pytest.mark.parametrize("log", [True, False])
@pytest.mark.parametrize("prior", [1e-3, 2e-3, 0.05, 0.1])
def test_a_prior_draws_values_towards_itself(log, prior):
    domain = Float(1e-3, 0.1, log=log, prior=prior)
    units = (np.arange(2000) + 0.5) / 2000
    values = np.array([domain.decode(u) for u in units])
    assert values.min() >= 1e-3
    assert values.max() <= 0.1
    assert (np.diff(values) >= 0).all()
    places = [Float(1e-3, 0.1, log=log).encode(v) for v in values]
    middle = Float(1e-3, 0.1, log=log).encode(prior)
    # Two thirds lie within a deviation, all but the ends that are cut off.
    expected = truncnorm(-middle / 0.2, (1 - middle) / 0.2, loc=middle, scale=0.2)
    assert kstest(places, expected.cdf).statistic < 0.005
    np.testing.assert_allclose([domain.encode(v) for v in values], units, atol=1e-6)
    assert domain.decode(0.0) == pytest.approx(1e-3)
    assert domain.encode(0.1) == pytest.approx(1.0)


def test_a_prior_in_a_file():
    space = Space.from_dict(
        {"learning_rate": {"low": 1e-4, "high": 0.1, "log": True, "prior": 1e-3}}
    )
    assert space["learning_rate"] == Float(1e-4, 0.1, log=True, prior=1e-3)
    assert Space.from_dict(space.to_dict())["learning_rate"] == space["learning_rate"]
    with pytest.raises(
        SpaceError, match="learning_rate: a prior must lie in its range; got prior=1"
    ):
        Space.from_dict({"learning_rate": {"low": 1e-4, "high": 0.1, "prior": 1}})
    with pytest.raises(SpaceError, match="width: a prior is for ranges of real numbers"):
        Space.from_dict({"width": {"low": 8, "high": 64, "prior": 16}})


def test_cases_that_never_come_up_are_refused():
    record = {"optimizer": ["adam", "sgd"], "momentum": {"low": 0.0, "high": 0.9}}
    record["momentum"] |= {"when": {"optimizer": ["sdg"]}}
    with pytest.raises(
        SpaceError, match="momentum depends on optimizer = 'sdg', which optimizer never is"
    ):
        Space.from_dict(record)
    record["momentum"] = {"on": "optimizer", "cases": {"lion": {"low": 0.0, "high": 0.9}}}
    with pytest.raises(SpaceError, match="optimizer: adam, sgd"):
        Space.from_dict(record)


def test_widths_by_depth():
    space = Space.from_dict(
        {
            "depth": [1, 2],
            "width": {"on": "depth", "cases": {"1": [64, 256], "2": [[128, 64], [256, 64]]}},
        }
    )
    shapes = {c.structure().widths for c in space.decode(np.random.default_rng(0).random((40, 2)))}
    assert shapes == {(64,), (256,), (128, 64), (256, 64)}
