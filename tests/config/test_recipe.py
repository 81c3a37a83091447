"""Recipes: parsing, validation and error messages."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liere_cli.config.budget import Budget
from liere_cli.config.files import apply_overrides, load_recipe
from liere_cli.config.recipe import Recipe, merged
from liere_cli.config.section import Section, added
from liere_cli.config.spec import format_spec, parse_spec
from liere_cli.encodings.registry import identifying_spec, resolve_spec
from liere_cli.errors import LiereError, UsageError
from liere_cli.runs.identity import identity

NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,10}", fullmatch=True)
VALUES = st.one_of(
    st.integers(-1000, 1000),
    st.booleans(),
    NAMES.filter(lambda s: s not in ("yes", "no", "on", "off", "true", "false", "null", "y", "n")),
)


@given(
    NAMES, st.dictionaries(NAMES.filter(lambda s: s not in ("name", "path")), VALUES, max_size=4)
)
def test_specs_are_equal_after_writing_and_reading(name: str, options: dict[str, object]) -> None:
    spec = {"name": name, **options}
    assert parse_spec(format_spec(spec)) == spec


def test_a_spec_of_a_file_keeps_its_class() -> None:
    assert parse_spec("my/file.py:Mine:block=8") == {"name": "my/file.py:Mine", "block": 8}
    assert parse_spec("text:a/b.txt,grid=64") == {"name": "text", "path": "a/b.txt", "grid": 64}


@pytest.mark.parametrize("text", ["", ":x=1", "a:x=1,x=2", "text:a.txt,b.txt", "a:=3"])
def test_broken_specs_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_spec(text)


@pytest.mark.parametrize(
    ("text", "unit", "amount"),
    [
        ("2000steps", "steps", 2000),
        ("50Mtokens", "tokens", 50e6),
        ("1.5kexamples", "examples", 1500),
        ("90s", "seconds", 90),
        ("10m", "seconds", 600),
        ("2h", "seconds", 7200),
    ],
)
def test_budgets(text: str, unit: str, amount: float) -> None:
    budget = Budget.parse(text)
    assert (budget.unit, budget.amount) == (unit, amount)


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("10min", "10m"), ("1 h", "1h"), ("2k steps", "2ksteps"), ("2K Steps", "2ksteps"),
        ("1h30m", "90m"), ("1 h 30 min", "90m"), ("1,000 steps", "1000steps"), ("5 step", "5steps"),
        ("1B tokens", "1Gtokens"), ("90 seconds", "90s"), ("10 Min", "10m"), ("1 hour", "1h"),
        ("100 k samples", "100kexamples"), (" 7  iterations ", "7steps"), ("600s", "600s"),
    ],
)  # fmt: skip
def test_a_budget_as_people_write_it_has_the_identity_of_its_short_form(
    text: str, short: str
) -> None:
    assert Budget.parse(text) == Budget.parse(short)
    assert str(Budget.parse(text)) == short


@given(
    st.integers(1, 10**6),
    st.sampled_from(["", "k", "M", "G"]),
    st.sampled_from(["steps", "examples", "tokens", "s", "m", "h"]),
    st.sampled_from(["", " ", "  "]),
)
def test_spaces_and_case_change_no_budget(number: int, prefix: str, unit: str, space: str) -> None:
    prefix = "" if unit in "smh" else prefix
    plain = f"{number}{prefix}{unit}"
    budget = Budget.parse(plain)
    assert str(budget) == plain
    unit = unit if unit == "m" else unit.upper()  # 10M may be ten million of something
    assert Budget.parse(f"{number}{space}{prefix}{space}{unit}") == budget


@pytest.mark.parametrize("text", ["10", "10k", "10 M", "3.5"])
def test_a_number_alone_says_which_units_there_are(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        Budget.parse(text)
    for word in ("no unit", "steps", "examples", "tokens", "s, m and h"):
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "right"),
    [
        ({"training": {"lr": 1}}, "'learning_rate'"),
        ({"lr": 1}, "'training.learning_rate'"),
        ({"batch": 3}, "'training.batch'"),
        ({"training": {"batch_size": 3}}, "'batch'"),
        ({"training": {"dim": 3}}, "'model.dim'"),
        ({"model": {"n_layers": 3}}, "'layers'"),
        ({"epochs": 3}, "'training.budget'"),
        ({"compare": {"max_seeds": 3}}, "'until_settled.max_seeds'"),
    ],
)
def test_a_key_of_another_tool_or_section_names_the_right_one(
    settings: dict[str, object], right: str
) -> None:
    with pytest.raises(UsageError) as caught:
        Recipe.validated(settings, "test")
    assert right.strip("'") in str(caught.value).partition("did you mean ")[2].partition("?")[0]


@pytest.mark.parametrize("text", ["", "10", "10x", "-5steps", "0steps", "1Mm", "steps", "0s"])
def test_broken_budgets_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"budget|times"):
        Budget.parse(text)


@given(st.dictionaries(NAMES, st.dictionaries(NAMES, st.integers(), max_size=3), max_size=3))
def test_merging_nothing_changes_nothing(base: dict[str, dict[str, int]]) -> None:
    assert merged(base, {}) == base
    assert merged({}, base) == base
    assert merged(base, base) == base


@pytest.mark.parametrize("text", ["2020-99-99", "[" * 5000, "9" * 5000, "{a", "a: b: c"])
def test_flag_values_that_are_not_yaml_stay_text(text: str) -> None:
    assert apply_overrides({}, [f"experiment={text}"]) == {"experiment": text}


def test_overrides_reach_into_specs_written_as_text() -> None:
    settings = apply_overrides({"encoding": "liere:block=4"}, ["encoding.block=8", "seed=3"])
    assert settings == {"encoding": {"name": "liere", "block": 8}, "seed": 3}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("modle: {}", ["unknown key 'modle'", "'model'"]),
        ("model: {layer: 3}", ["unknown key 'model.layer'", "'layers'"]),
        ("model: {layers: many}", ["model.layers", "'many'", "whole number"]),
        ("model: {layers: 0}", ["model.layers", "0", "at least 1"]),
        ("training: {budget: 10 parsecs}", ["training.budget", "parsecs"]),
        ("training: {learning_rate: .nan}", ["training.learning_rate"]),
        ("compare: {seeds: [1, 1]}", ["compare.seeds", "differ"]),
        ("seed: 1\nseed: 2", ["line 2", "'seed' appears twice"]),
        ("model: [1, 2", ["line", "YAML"]),
        ("- 1\n- 2", ["'key: value'"]),
        ("", ["'key: value'"]),
        ("a: &x 1\nb: *x", ["line 2", "aliases"]),
        ("seed: 2020-99-99", ["'seed' is '2020-99-99'", "whole number"]),
        ("seed: true", ["'seed' is 'true'", "whole number"]),
        ("training: 3", ["'training' is 3", "section"]),
        (
            "training: {learning-rate: 1}",
            ["unknown key 'training.learning-rate'", "'learning_rate'"],
        ),
        ("seed: " + "[" * 5000, ["nested too deeply"]),
        ("training: {budget: 9999999Gsteps}", ["at most"]),
        ("experiment: ../../etc", ["experiment", "../../etc"]),
    ],
)
def test_bad_recipes_name_file_key_and_remedy(
    tmp_path: Path, content: str, words: list[str]
) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(content)
    with pytest.raises(UsageError) as caught:
        load_recipe(path)
    message = str(caught.value)
    assert "\n" not in message
    for word in ["bad.yaml", *words]:
        assert word in message


def test_binary_and_missing_recipes(tmp_path: Path) -> None:
    (tmp_path / "noise.yaml").write_bytes(bytes(range(256)))
    with pytest.raises(UsageError, match="not text in UTF-8"):
        load_recipe(tmp_path / "noise.yaml")
    with pytest.raises(UsageError, match="did you mean 'quick'"):
        load_recipe("quik")


def test_an_unreadable_recipe_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret.yaml"
    path.write_text("seed: 1")

    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(LiereError, match="Permission denied"):
        load_recipe(path)


def test_flags_replace_specs_and_merge_into_sections(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("encoding: liere:block=4\ntraining: {batch: 7, budget: 10steps}\n")
    recipe = load_recipe(
        path,
        flags={"encoding": "rope", "training": {"budget": "20steps"}},
        assignments=["model.layers=2"],
    )
    assert recipe.experiment == "mine"
    assert recipe.encoding == {"name": "rope"}
    assert (recipe.training.batch, str(recipe.training.budget)) == (7, "20steps")
    assert recipe.model.layers == 2


def test_numbers_may_be_written_as_yaml_reads_them_as_text() -> None:
    # YAML 1.1 reads 3e-4 as text
    recipe = Recipe.validated({"training": {"learning_rate": "3e-4"}}, "test")
    assert recipe.training.learning_rate == pytest.approx(3e-4)


class _Grown(Section):
    old: int = 1
    new: float = added(1.0, gt=0)


class _Outer(Section):
    inner: _Grown = _Grown()


@given(old=st.integers(), new=st.floats(0.1, 10))
def test_an_added_key_is_in_the_identity_only_if_not_at_its_default(old: int, new: float) -> None:
    settings = _Outer(inner=_Grown(old=old, new=new)).identifying()
    assert settings == {"inner": {"old": old} | ({"new": new} if new != 1 else {})}


def test_runs_of_earlier_versions_keep_their_identity() -> None:
    # a new key without ``added``, or a changed default, would train every run of a user again
    recipe = load_recipe(flags={"encoding": "liere", "data": "motion"})
    spec = resolve_spec(recipe.encoding)
    resolved = recipe.model_copy(update={"encoding": spec})
    assert identity(resolved, identifying_spec(spec), "0123456789abcdef") == "d4f2dc139857"
