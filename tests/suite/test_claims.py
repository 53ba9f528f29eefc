"""The registry refuses, in one line, whatever it does not understand."""

import pytest

from rctheory.errors import RegistryError, UsageError
from rctheory.suite.claims import load_suite
from rctheory.suite.runner import check_links
from tests.suite.toys import Toy

CLAIM = """
["toy.one"]
kind = "exact"
statement = "It is so, $x = 1$."
assumptions = ["none"]
source = "own"
uses = []
experiment = "toy_module:GOOD"
controls = ["toy_module:BAD"]
["toy.one".gates.error]
at_most = "1e-6"
"""


def load(toy: Toy, text: str):
    """Read a suite with this claims.toml."""
    (toy.folder / "claims.toml").write_text(text)
    return toy.suite()


def test_reads_the_claim_with_exact_numbers(toy):
    claim = load(toy, CLAIM).claims["toy.one"]
    assert (claim.kind, str(claim.experiment), claim.gates["error"].at_most.denominator) == (
        "exact",
        "toy_module:GOOD",
        10**6,
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('kind = "exact"', 'kind = "exactly"', "kind = 'exactly'; expected one of exact, rate"),
        ('kind = "exact"', "kind = 3", "kind = 3"),
        ('kind = "exact"\n', "", "no kind"),
        ('source = "own"', 'sources = "own"', "unknown key 'sources'.*did you mean source"),
        ('source = "own"', 'source = " "', "source = ' '"),
        ("uses = []", 'uses = ["toy.two"]', "uses names 'toy.two'.*did you mean toy.one"),
        ("uses = []", 'uses = ["toy.one"]', "cycle: toy.one -> toy.one"),
        ("uses = []", 'uses = "toy.one"', "a list of texts"),
        ("uses = []", "uses = [1]", "a list of texts"),
        ("uses = []", 'on_request = "true"', "on_request = 'true'; expected true or false"),
        ('["none"]', '["none", "none"]', "names something twice"),
        ("$x = 1$", "$x = 1", "odd number of dollar"),
        ('["toy.one"]\n', '["Toy.one"]\n', "claim id 'Toy.one'.*area.slug"),
        ('["toy.one"]\n', '["toy"]\n', "claim id 'toy'"),
        ('["toy.one"]\n', "[toy.one]\n", "claim id 'toy'.*quotes keep the point together"),
        ("toy_module:GOOD", "toy_module.GOOD", "a link of the form module:attribute"),
        ("toy_module:GOOD", "toy module:GOOD", "a link of the form module:attribute"),
        ("toy_module:BAD", "toy_module:GOOD", "its own control"),
        ('controls = ["toy_module:BAD"]\n', "", "an experiment without a control"),
        ('experiment = "toy_module:GOOD"\n', "", "neither proof nor experiment"),
        ('experiment = "toy_module:GOOD"', 'proof = "toy_module:derive"', "without an experiment"),
        ('["toy.one".gates.error]\nat_most = "1e-6"\n', "", "without gates"),
        ('kind = "exact"', 'kind = "rate"', "kind rate without a rate gate"),
        ('at_most = "1e-6"', "at_most = 1e-6", "a float; expected an exact number in quotes"),
        ('at_most = "1e-6"', 'at_most = "small"', "gates.error.at_most = 'small'"),
        ('at_most = "1e-6"', 'at_most = "1/0"', "at_most = '1/0'"),
        ('at_most = "1e-6"', 'at_most = "nan"', "at_most = 'nan'"),
        ('at_most = "1e-6"', 'at_most = "1"\nat_least = "2"', "at_least 2, at_most 1"),
        ('at_most = "1e-6"', 'rate = "-1/2"', "keys rate"),
        ('at_most = "1e-6"', 'rate = "-1/2"\nmargin = "0"', "a number above 0"),
        ('at_most = "1e-6"', 'rate = "-1/2"\nmargin = "-1/9"', "a number above 0"),
        ('at_most = "1e-6"', 'rate = "-1/2"\nmargin = "1/9"\nside = "left"', "one of two, upper"),
        ('at_most = "1e-6"', 'reject = "some"\nlevel = "0.01"', "one of all, none"),
        ('at_most = "1e-6"', 'reject = "all"\nlevel = "1"', "above 0 and below 1"),
        ('["toy.one".gates.error]\nat_most = "1e-6"', '["toy.one".gates]\nerror = 3', "gates.error is a int"),
        ('kind = "exact"', "kind = ", "does not parse"),
    ],
)
def test_refuses(toy, old, new, message):
    assert old in CLAIM
    with pytest.raises(RegistryError, match=message) as caught:
        load(toy, CLAIM.replace(old, new))
    assert "\n" not in str(caught.value)


def test_refuses_a_longer_cycle_and_names_it(toy):
    toy.claim("toy.one", more='uses = ["toy.two"]').claim("toy.two", more='uses = ["toy.one"]')
    with pytest.raises(RegistryError, match="cycle: toy"):
        toy.suite()


def test_refuses_an_empty_suite_and_a_folder_without_one(toy, tmp_path):
    with pytest.raises(RegistryError, match="holds no claim"):
        toy.suite()
    with pytest.raises(RegistryError, match=r"no claims\.toml"):
        load_suite(tmp_path)


@pytest.mark.parametrize(
    ("link", "message"),
    [
        ("no_such_module_here:GOOD", "module no_such_module_here, which does not exist"),
        ("rctheory.nothing:GOOD", r"module rctheory\.nothing, which does not exist"),
        ("{module}:GOOOD", "no such attribute.*did you mean GOOD"),
        ("{module}:NUMBER", "is a int; expected an Experiment"),
        ("toy_broken:GOOD", "import fails with ZeroDivisionError"),
        ("toy_missing:GOOD", "import fails with ModuleNotFoundError: No module named 'nowhere'"),
    ],
)
def test_dangling_links_are_told_before_any_work(toy, link, message):
    (toy.folder / "toy_broken.py").write_text("1 / 0\n")
    (toy.folder / "toy_missing.py").write_text("import nowhere\n")
    toy.claim("toy.one")
    file = toy.folder / "claims.toml"
    file.write_text(file.read_text().replace(f"{toy.module}:GOOD", link.format(module=toy.module)))
    suite = toy.suite()  # links are lazy: the file itself is in order
    with suite.importable(), pytest.raises(RegistryError, match=message):
        check_links(suite.claims["toy.one"], controls=True)
    with pytest.raises(RegistryError, match=message):
        toy.session()


def test_a_proof_must_be_callable(toy):
    toy.append(f'["toy.one"]\nkind = "exact"\nstatement = "x"\nsource = "own"\nproof = "{toy.module}:NUMBER"\n')
    with pytest.raises(RegistryError, match="not callable"):
        toy.session()


def test_controls_are_resolved_only_when_they_run(toy):
    toy.claim("toy.one", control="NOWHERE")
    toy.session(controls=False)
    with pytest.raises(RegistryError, match=r"controls\[0\]"):
        toy.session()


def test_selection_by_name_and_pattern(toy):
    toy.claim("one.first").claim("one.second").claim("two.first")
    suite = toy.suite()
    assert [claim.id for claim in suite.select(["two.first", "one.*"])] == ["one.first", "one.second", "two.first"]
    assert len(suite.select()) == 3
    with pytest.raises(UsageError, match=r"unknown claim 'one.frist'.*did you mean one.first"):
        suite.select(["one.frist"])
    with pytest.raises(UsageError, match=r"unknown claim 'three\.\*'"):
        suite.select(["one.*", "three.*"])


def test_a_package_finds_its_siblings(tmp_path):
    package = tmp_path / "toy_package_of_claims"
    package.mkdir()
    (package / "__init__.py").write_text("")
    toy = Toy(package)
    toy.claim("toy.one")
    file = package / "claims.toml"
    file.write_text(file.read_text().replace(f"{toy.module}:", f"toy_package_of_claims.{toy.module}:"))
    assert toy.session().run().exit_code == 0


def test_the_default_is_this_folder_then_the_packaged_suite(toy, tmp_path, monkeypatch):
    toy.claim("toy.one")
    monkeypatch.chdir(toy.folder)
    assert list(load_suite().claims) == ["toy.one"]
    monkeypatch.chdir(tmp_path)
    assert "width.lln" in load_suite().claims


def test_the_fingerprint_follows_the_code(toy):
    toy.claim("toy.one")
    before = toy.suite().fingerprint()
    assert toy.suite().fingerprint() == before
    with (toy.folder / f"{toy.module}.py").open("a") as stream:
        stream.write("\n# changed\n")
    assert toy.suite().fingerprint() != before
