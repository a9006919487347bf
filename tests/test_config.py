"""Presets, precedence, types and ranges of the settings."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import yaml

from pyocgan.cli.settings import FLAGS_ALONE, merge, read_environment
from pyocgan.config import (
    COLOUR,
    FIELDS,
    PRESETS,
    STAGES,
    Config,
    check_settings,
    completed,
    resolve,
)
from pyocgan.errors import UsageError


def test_the_paper_preset_is_the_papers_numbers():
    config = resolve("paper", {})
    assert (config.autoencoder_width, config.visual_width, config.classifier_width) == (64, 12, 64)
    assert config.latent_widths == (128, 64, 32, 16)
    assert config.noise_variance == 0.2
    assert config.noise_std == pytest.approx(0.4472136)
    assert (config.reconstruction_weight, config.mining_steps) == (10.0, 5)
    assert (config.learning_rate, config.adam_beta1) == (2e-4, 0.5)


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_change_what_they_say_and_nothing_else(preset):
    changed = {
        name: value
        for name, value in vars(resolve(preset, {})).items()
        if value != vars(Config())[name]
    }
    assert changed == PRESETS[preset]
    assert resolve(preset, {}, channels=3).latent_size == COLOUR["latent_size"]
    assert resolve(preset, {"latent_size": 7}, channels=3).latent_size == 7


def test_flag_over_environment_over_file_over_preset(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("epochs: 11\nbatch_size: 12\nlatent_size: 13\n")
    environment = {"OCGAN_EPOCHS": "21", "OCGAN_BATCH_SIZE": "22", "OCGAN_LATENT_SIZE": ""}
    config = resolve("fast", merge(file=file, environment=environment, flags={"epochs": 31}))
    assert (config.epochs, config.batch_size, config.latent_size) == (31, 22, 13)
    assert config.autoencoder_width == PRESETS["fast"]["autoencoder_width"]


def test_a_wrong_value_is_refused_even_where_a_stronger_one_hides_it(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("epochs: many\n")
    with pytest.raises(UsageError, match=r"epochs = 'many' must be a whole number"):
        merge(file=file, flags={"epochs": 3})


@pytest.mark.parametrize(
    ("given", "meant"),
    [("epoch", "epochs"), ("learning-rate", "learning_rate"), ("latent_sise", "latent_size")],
)
def test_an_unknown_setting_is_refused_with_a_suggestion(given, meant):
    with pytest.raises(UsageError, match=f"unknown setting '{given}': did you mean '{meant}'"):
        check_settings({given: 3})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("latent_size", 10**6),
        ("autoencoder_width", 2000),
        ("flaw_width", 2000),
        ("turn_hidden", 10**6),
        ("latent_widths", (128, 10**6)),
        ("epochs", 10**400),
    ],
)
def test_what_no_memory_holds_is_refused(name, value):
    with pytest.raises(UsageError, match=rf"^{name} = .*(and at most|1 to) \d+(e\+09)?$"):
        resolve("default", {name: value})


def test_every_flag_but_the_settings_is_known_as_one():
    from pyocgan.cli import app

    flags = {*flags_of(app)}
    assert {flag.replace("-", "_") for flag in flags} == {*FLAGS_ALONE, *FIELDS}


def flags_of(app):
    """The flags of all commands below a command, without their dashes."""
    if app.default_command is not None:
        for argument in app.assemble_argument_collection():
            yield from (name[2:] for name in argument.names if name.startswith("--"))
    for name in app:
        if not name.startswith("-"):
            yield from flags_of(app[name])


@pytest.mark.parametrize("name", ["fpr", "preset", "class", "dry_run"])
def test_a_flag_that_is_no_setting_is_named_as_one(tmp_path, name):
    file, flag = tmp_path / "c.yaml", name.replace("_", "-")
    file.write_text(f"{name}: 1\n")
    with pytest.raises(UsageError, match=rf"^{name} in .* is no setting: give --{flag} to "):
        merge(file=file)
    variable = f"OCGAN_{name.upper()}"
    advice = f"is no setting: give --{flag} to a command that has it"
    with pytest.raises(UsageError, match=f"^the variable {variable} {advice}$"):
        merge(environment={variable: "1"})


def test_a_setting_given_twice_is_refused(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("epochs: 3\nbatch_size: 5\nepochs: 4\n")
    with pytest.raises(UsageError, match=r"^the config file .*: epochs is given twice$"):
        merge(file=file)


def test_yaml_may_merge_mappings(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("<<: {epochs: 3, batch_size: 5}\nepochs: 4\n")
    assert merge(file=file) == {"epochs": 4, "batch_size": 5}


def test_an_unknown_preset_is_refused_with_a_suggestion():
    with pytest.raises(UsageError, match="did you mean 'paper'"):
        resolve("papre", {})


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("epochs", "50", 50),
        ("epochs", np.int64(50), 50),
        ("learning_rate", "1e-3", 1e-3),  # YAML takes 1e-3 for text
        ("learning_rate", 1, 1.0),
        ("learning_rate", np.float32(0.5), 0.5),
        ("image_size", "auto", "auto"),
        ("image_size", "32", 32),
        ("image_size", 32, 32),
        ("image_size", "32x48", (32, 48)),
        ("image_size", "32×48", (32, 48)),
        ("image_size", [32, 48], (32, 48)),
        ("latent_widths", "128,64", (128, 64)),
        ("latent_widths", "[128, 64]", (128, 64)),
        ("latent_widths", "128", (128,)),
        ("latent_widths", [8, 4, 2], (8, 4, 2)),
        ("score_weights", "[]", ()),
        ("score_weights", "()", ()),
        ("channels", "3", 3),
        ("channels", 1, 1),
        ("channels", "auto", "auto"),
        ("stage", "+mining", "+mining"),
    ],
)
def test_values_become_their_fields_type(name, given, expected):
    value = check_settings({name: given})[name]
    assert value == expected
    assert type(value) is type(expected)
    assert getattr(Config(**{name: given}), name) == expected  # also where built directly


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("epochs", 2.5),
        ("epochs", True),
        ("epochs", None),
        ("epochs", "2.5"),
        ("learning_rate", "fast"),
        ("learning_rate", [1]),
        ("image_size", "32x"),
        ("image_size", "32x48x3"),
        ("image_size", [32]),
        ("image_size", "large"),
        ("latent_widths", 64),
        ("latent_widths", [64, 2.5]),
        ("latent_widths", "64,"),
        ("channels", 2),
        ("channels", True),
        ("channels", 1.5),
        ("stage", "mining"),
        ("stage", 1),
    ],
)
def test_values_of_another_type_are_refused(name, given):
    for build in (lambda: check_settings({name: given}), lambda: Config(**{name: given})):
        with pytest.raises(UsageError) as caught:
            build()
        assert str(caught.value).startswith(f"{name} = {given!r} must be ")


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("epochs", 0),
        ("batch_size", 1),
        ("noise_variance", -0.1),
        ("noise_variance", float("inf")),
        ("mining_step_size", float("nan")),
        ("mining_warmup", 1.1),
        ("learning_rate", 0),
        ("adam_beta1", 1),
        ("validation_fraction", 0.6),
        ("calibration_fraction", 0),
        ("latent_widths", []),
        ("latent_widths", [8, 0]),
        ("image_size", 7),
        ("image_size", 257),
        ("image_size", (8, 300)),
        ("network_side", 7),
        ("flaw_width", 0),
        ("flaw_steps", 0),
        ("network_side", 129),
        ("mining_steps", -1),
    ],
)
def test_values_out_of_range_are_refused(name, given):
    with pytest.raises(UsageError, match=rf"^{name} = "):
        Config(**{name: given})


@pytest.mark.parametrize(
    "content",
    [
        b"epochs: [",
        b"a: b: c",
        b"\tepochs: 5",
        b"epochs 5",
        b"- epochs",
        b"\xff\xfe",
        b"!!python/object/apply:os.getcwd []",
    ],
)
def test_a_damaged_config_file_is_named_in_one_line(tmp_path, content):
    file = tmp_path / "config.yaml"
    file.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        merge(file=file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_config_files_that_are_missing_or_empty(tmp_path):
    with pytest.raises(UsageError, match=r"nowhere\.yaml.*No such file"):
        merge(file=tmp_path / "nowhere.yaml")
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    assert merge(file=tmp_path / "empty.yaml") == {}


def test_the_environment_never_breaks_the_reading():
    assert read_environment({"OCGAN_DATA_ROOT": "/data", "OCGAN_EPOCHS": "3"}) == {"epochs": "3"}
    with pytest.raises(UsageError, match="epochs = '\\['"):
        merge(environment={"OCGAN_EPOCHS": "["})


def test_a_variable_that_is_no_setting_is_refused_with_a_suggestion():
    with pytest.raises(UsageError, match="'OCGAN_EPOCH': did you mean 'OCGAN_EPOCHS'"):
        read_environment({"OCGAN_EPOCH": "3"})
    assert read_environment({"OCGAN_EPOCH": "", "OCGAN_MIRROR": "http://x", "EPOCH": "3"}) == {}


@pytest.mark.parametrize("preset", PRESETS)
def test_settings_survive_json_and_yaml(preset):
    config = resolve(preset, {"image_size": (9, 17), "learning_rate": 1e-5, "noise_variance": 0})
    content = config.to_dict()
    for copy in (json.loads(json.dumps(content)), yaml.safe_load(yaml.safe_dump(content))):
        again = Config(**check_settings(copy))
        assert again == config
        assert hash(again) == hash(config)
    assert {name: type(v) for name, v in vars(again).items()} == {
        name: type(v) for name, v in vars(config).items()
    }


def test_a_list_in_replace_still_makes_a_frozen_config():
    config = dataclasses.replace(Config(), image_size=[9, 17])
    assert config.image_size == (9, 17)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.epochs = 3


def test_stages_add_one_game_after_another():
    flags = ("uses_latent_game", "uses_visual_game", "uses_mining")
    used = [[getattr(Config(stage=stage), flag) for flag in flags] for stage in STAGES]
    assert used == [[False] * 3, [True, False, False], [True, True, False], [True] * 3]


def test_mining_starts_after_its_share_of_the_epochs():
    assert Config(epochs=50, mining_warmup=0.2).mining_start == 10
    assert Config(epochs=50, mining_warmup=0).mining_start == 0
    assert Config(epochs=50, mining_warmup=1).mining_start == 50


def test_every_field_has_a_help_line():
    for name, field in FIELDS.items():
        assert field.metadata["help"].endswith((".", ")")), name


@pytest.mark.parametrize(("size", "side"), [([28, 64], 64), ([65, 28], 128)])
def test_what_a_config_lacks_is_what_it_was_before_it_could_be_chosen(size, side):
    stored = {"image_size": size, "epochs": 7}
    found = completed(stored)
    assert (found["network_side"], found["epochs"], found["search_margin"]) == (side, 7, 0)
    assert completed(stored | {"network_side": 32})["network_side"] == 32
    assert found.keys() == FIELDS.keys()


def test_a_number_that_no_float_holds_is_refused():
    with pytest.raises(UsageError, match=r"^learning_rate = 1\d+ must be a number$"):
        resolve("paper", {"learning_rate": 10**400})
    with pytest.raises(UsageError, match=r"^noise_variance = nan must be at least 0$"):
        resolve("paper", {"noise_variance": float("nan")})
