"""Experiment files: read, overridden, written, and refused in one line that names the fix."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments import experiment as module
from experiments.experiment import Experiment, ExperimentError, load_experiment
from experiments.sections import EvaluationSection
from latency_tables.parsing import parse_toml

SMALL = """
name = "small"

[latency]
tables = ["toy"]
target_ratio = 0.5

[search]
rounds = 3
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return path


@pytest.fixture
def presets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of presets with one called ``small``."""
    folder = tmp_path / "presets"
    folder.mkdir()
    (folder / "small.toml").write_text(SMALL)
    (folder / "tiny.toml").write_text(SMALL.replace("small", "tiny"))
    monkeypatch.setattr(module, "PRESETS", folder)
    return folder


def refused(path: Path, *overrides: str) -> str:
    """The message with which a file is refused."""
    with pytest.raises(ExperimentError) as caught:
        load_experiment(path, overrides)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


# --- reading


def test_what_a_file_leaves_out_has_its_default(file: Path) -> None:
    experiment = load_experiment(file)
    assert experiment.name == "small"
    assert experiment.search.rounds == 3
    assert experiment.search.grow
    assert experiment.evaluation.prompts.count == 32
    assert experiment.comparison.prompts.count == 128


def test_one_key_of_a_section_leaves_its_other_defaults(file: Path) -> None:
    """More pictures must not change the noise that the comparison is drawn from."""
    default = load_experiment(file)
    overrides = ["comparison.prompts.count=256", "evaluation.prompts.seed=7"]
    experiment = load_experiment(file, overrides)
    assert experiment.comparison.prompts.count == 256
    assert experiment.comparison.prompts.seed == default.comparison.prompts.seed
    assert experiment.evaluation.prompts.seed == 7
    assert experiment.evaluation.prompts.count == default.evaluation.prompts.count


@pytest.mark.parametrize("training", ["base.unet", "supernet.training", "decoder.training"])
def test_one_key_of_a_training_leaves_its_other_defaults(file: Path, training: str) -> None:
    """They are not those of any training: the base's UNet drops no blocks, for one."""
    section, field = training.split(".")
    settings = [f"{training}.steps=7"]
    if section != "decoder":
        settings.append(f"{training}.dropping.anneal_steps=5")
    given, default = (load_experiment(file, each) for each in (settings, []))
    own, other = (getattr(getattr(each, section), field) for each in (given, default))
    assert own.steps == 7
    changed = {"steps": 7}
    if section != "decoder":
        changed["dropping"] = other.dropping.model_copy(update={"anneal_steps": 5})
    assert own == other.model_copy(update=changed)


def test_the_target_is_in_ms_or_a_share_of_the_base(file: Path) -> None:
    assert load_experiment(file).latency.target(80.0) == 40.0
    in_ms = ["latency.target_ratio=", "latency.target_ms=12.5"]
    assert load_experiment(file, in_ms).latency.target(80.0) == 12.5


def test_a_preset_is_found_by_its_name(presets: Path) -> None:
    assert load_experiment(Path("tiny")).name == "tiny"


def test_a_file_goes_before_a_preset_and_a_folder_does_not(
    presets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").mkdir()
    assert load_experiment(Path("tiny")).name == "tiny"
    (tmp_path / "small").write_text(SMALL.replace("small", "mine"))
    assert load_experiment(Path("small")).name == "mine"


def test_an_unknown_name_lists_the_presets(presets: Path) -> None:
    assert refused(Path("huge")) == "huge: no such file; presets are: small, tiny"


def test_a_path_is_never_taken_for_a_preset(presets: Path) -> None:
    assert refused(Path("mine/small")) == "mine/small: no such file; presets are: small, tiny"


# --- overrides


@pytest.mark.parametrize(
    ("override", "field", "value"),
    [
        ("search.rounds=2", "search.rounds", 2),
        ("search.grow=false", "search.grow", False),
        ("training.round.steps=25", "training.round.steps", 25),
        ("training.round={steps = 5, accumulation = 2}", "training.round.steps", 5),
        (
            "training.round={steps = 5, dropping = {keep_prob = 0.7}}",
            "training.round.dropping.keep_prob",
            (0.7, 0.7),
        ),
        ("evaluation.sampling.guidance_scale=3", "evaluation.sampling.guidance_scale", 3.0),
        ("latency.tables=['a', 'b.toml']", "latency.tables", ("a", "b.toml")),
        ("model.pipeline=my/model", "model.pipeline", "my/model"),
        ("model.pipeline='a=b#c'", "model.pipeline", "a=b#c"),
        (" name = other ", "name", "other"),
        ("search.rounds=", "search.rounds", 4),
        ("latency.tables.0=b.toml", "latency.tables", ("b.toml",)),
    ],
)
def test_an_override_goes_before_the_file(
    file: Path, override: str, field: str, value: object
) -> None:
    found: object = load_experiment(file, [override])
    for part in field.split("."):
        found = getattr(found, part)
    assert found == value


def test_the_last_override_wins(file: Path) -> None:
    assert load_experiment(file, ["search.rounds=1", "search.rounds=7"]).search.rounds == 7


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("search.round=2", "unknown key 'search.round'; there are: rounds, actions, round_loss,"),
        ("rounds=2", "unknown key 'rounds'; there are: name, seed, model,"),
        ("training.round.stepz=2", "unknown key 'training.round.stepz'; there are: steps,"),
        ("search..rounds=2", "unknown key 'search.'"),
        ("search.rounds.deep=2", "--set search.rounds.deep=2: 'rounds' is a value, not a section"),
        ("search.rounds", "--set search.rounds: write it as key=value"),
        ("=2", "--set =2: write it as key=value"),
        ("latency.tables.1=b", "'1' is no place in a list of 1; count from 0"),
        ("latency.tables.first=b", "'first' is no place in a list of 1; count from 0"),
        ("latency.tables.0.name=b", "'0' is a value, not a section"),
        ("latency.tables.0=", "'latency.tables' is []: "),
        ("latency.target_rato=", "there is no 'latency.target_rato' to take away"),
        ("latency.target_ratio=", "'latency': give one of target_ms and target_ratio"),
        ("latency.target_ms=3", "'latency': give one of target_ms and target_ratio"),
        ("latency.target_ratio=1.5", "'latency.target_ratio' is 1.5: "),
        ("latency.tables=toy", "'latency.tables' is \"toy\": "),
        ("latency.tables=[]", "'latency.tables' is []: "),
        ("name=", "'name' is missing; add it"),
        ("name=../up", "'name' is \"../up\": "),
        ("search.strategy=luck", "'search.strategy' is \"luck\": "),
        ("seed=-1", "'seed' is -1: "),
        ("training.round.steps=many", "'training.round.steps' is \"many\": "),
        ("training.round={steps = 5, accumulation = 3}", "'training.round': a batch_size of 64"),
        (
            "training.round={steps = 5, dropping = {by = {mid = [1, 0.5]}}}",
            "'training.round.dropping.by.mid' is [1, 0.5]: a keep probability is",
        ),
        (
            "training.round={steps = 5, dropping = {keep = 1}}",
            "unknown key 'training.round.dropping.keep'; there are: keep_prob, by, depth,",
        ),
        (
            "evaluation.clip={name = 'shapes'}",
            "unknown key 'evaluation.clip'; there are: prompts, sampling, scorer, second",
        ),
        ("evaluation.scorer=shapes", "'evaluation.scorer' is \"shapes\": write a scorer as { kind"),
        (
            "evaluation.scorer.kind=clop",
            "'evaluation.scorer': write a scorer as { kind = ..., name",
        ),
        (
            "evaluation.scorer={kind = 'transformers'}",
            "'evaluation.scorer.name' is missing; add it",
        ),
        (
            "evaluation.scorer={name = 'x', tag = 'y'}",
            "unknown key 'evaluation.scorer.tag'; there are: kind, name, pretrained",
        ),
        (
            "evaluation.second={kind = 'mix', parts = [{weight = 1, scorer = {title = 'x'}}]}",
            "unknown key 'evaluation.second.parts.0.scorer.title'; there are: kind, name, pretr",
        ),
        (
            "evaluation.second={kind = 'mix', parts = [{weight = 'x', scorer = {name = 'x'}}]}",
            "'evaluation.second.parts.0.weight' is \"x\": ",
        ),
        (
            "comparison={features = 'inception', prompts = {source = 'a.txt'}}",
            "'comparison': features = 'inception' needs real pictures to compare with",
        ),
    ],
)
def test_a_bad_override_is_named(file: Path, override: str, expected: str) -> None:
    assert expected in refused(file, override)


@pytest.mark.parametrize("number", ["inf", "nan"])
def test_a_target_is_a_number(file: Path, number: str) -> None:
    message = refused(file, "latency.target_ratio=", f"latency.target_ms={number}")
    assert "'latency.target_ms' is" in message


# --- bad files


BAD_FILES = {
    "an unknown key": (SMALL + "goal = 3", "unknown key 'search.goal'; there are: rounds,"),
    "an unknown section": (SMALL + "[serach]", "unknown key 'serach'; there are: name, seed,"),
    "a wrong type": (SMALL.replace("3", '"three"'), "'search.rounds' is \"three\": "),
    "a value for a section": (
        "search = 3\n" + SMALL.replace("[search]\nrounds = 3", ""),
        "'search' is 3",
    ),
    "no target": (
        SMALL.replace("target_ratio = 0.5", ""),
        "'latency': give one of target_ms and target_ratio, and only one",
    ),
    "both targets": (
        SMALL.replace("[search]", "target_ms = 5\n[search]"),
        "'latency': give one of target_ms and target_ratio, and only one",
    ),
    "no tables": (SMALL.replace('tables = ["toy"]', ""), "'latency.tables' is missing; add it"),
    "no latency": ('name = "small"', "'latency' is missing; add it"),
    "no TOML": ("name = ", "not readable as TOML: "),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_refused_by_name_field_and_fix(tmp_path: Path, case: str) -> None:
    text, expected = BAD_FILES[case]
    path = tmp_path / "bad.toml"
    path.write_text(text)
    message = refused(path)
    assert message.startswith(f"{path}: ")
    assert expected in message


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.toml"
    path.write_bytes(b"\xff\xfe\x00")
    assert refused(path).startswith(f"{path}: not readable as TOML: ")
    assert refused(tmp_path).startswith(f"{tmp_path}: not readable as TOML: ")


# --- writing

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
shares = st.floats(0.001, 1.0)
ranges = st.tuples(shares, shares).map(sorted)
targets = st.one_of(
    st.fixed_dictionaries({"target_ms": st.floats(1e-3, 1e6)}),
    st.fixed_dictionaries({"target_ratio": shares}),
)
prompts = st.fixed_dictionaries(
    {}, optional={"source": texts, "count": st.integers(2, 9), "seed": st.integers(0, 2**32 - 1)}
)
one_scorer = st.one_of(
    st.fixed_dictionaries({"name": texts}, optional={"pretrained": texts}),
    st.fixed_dictionaries({"kind": st.just("transformers"), "name": texts}),
    st.fixed_dictionaries({"kind": st.just("caption_accuracy"), "name": texts}),
)
part = st.fixed_dictionaries({"weight": st.floats(-9, 9), "scorer": one_scorer})
scorers = st.one_of(
    one_scorer,
    st.fixed_dictionaries(
        {"kind": st.just("mix"), "parts": st.lists(part, min_size=2, max_size=3)}
    ),
)
training = st.fixed_dictionaries(
    {"steps": st.integers(0, 9)},
    optional={
        "dropping": st.fixed_dictionaries(
            {},
            optional={
                "keep_prob": st.one_of(shares, ranges),
                "by": st.dictionaries(st.sampled_from(["resnet", "resnet down.0"]), ranges),
            },
        ),
        "snr_gamma": st.one_of(st.none(), st.floats(0.1, 9)),
    },
)
experiments = st.fixed_dictionaries(
    {
        "name": st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,8}", fullmatch=True),
        "latency": st.tuples(st.lists(texts, min_size=1, max_size=3), targets).map(
            lambda pair: {"tables": pair[0], **pair[1]}
        ),
    },
    optional={
        "seed": st.integers(0, 2**32 - 1),
        "model": st.fixed_dictionaries(
            {}, optional={"pipeline": texts, "supernet": st.one_of(st.none(), texts)}
        ),
        "evaluation": st.fixed_dictionaries(
            {"prompts": prompts}, optional={"scorer": scorers, "second": scorers}
        ),
        "training": st.fixed_dictionaries({}, optional={"round": training, "final": training}),
        "workers": st.fixed_dictionaries(
            {}, optional={"count": st.one_of(st.none(), st.integers(1, 99)), "address": texts}
        ),
        "comparison": st.fixed_dictionaries({"prompts": prompts}),
    },
).map(Experiment.model_validate)


@given(experiments)
@settings(deadline=None, max_examples=50)
def test_an_experiment_reads_back_from_its_file(
    tmp_path_factory: pytest.TempPathFactory, experiment: Experiment
) -> None:
    path = tmp_path_factory.getbasetemp() / "written.toml"
    path.write_text(experiment.to_toml(), encoding="utf-8")
    assert load_experiment(path) == experiment


def test_a_written_file_says_every_value_that_counts(file: Path) -> None:
    """A run can be repeated from its folder although defaults change."""
    written = parse_toml(load_experiment(file).to_toml())
    assert written["evaluation"]["sampling"] == {
        "num_inference_steps": 50,
        "guidance_scale": 7.5,
        "precision": "fp32",
        "batch_size": 32,
        "memory_format": "contiguous",
    }
    assert written["comparison"]["prompts"]["seed"] == 1


@pytest.mark.parametrize("preset", sorted(module.PRESETS.glob("*.toml")), ids=lambda p: p.stem)
def test_shipped_presets_are_valid(preset: Path) -> None:
    assert load_experiment(Path(preset.stem)) == load_experiment(preset)


def test_the_examples_of_the_document_on_scorers_are_valid(file: Path) -> None:
    text = Path("docs/scorers.md").read_text(encoding="utf-8")
    sections, mix = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    for example in (sections, f"[evaluation]\n{mix}"):
        file.write_text(SMALL + example)
        assert load_experiment(file).evaluation.scorer != EvaluationSection().scorer
