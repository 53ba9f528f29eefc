"""Every way in which a claim can come out."""

import pytest

from rctheory.suite.record import ControlStatus, ProofStatus, Status


def outcome(toy, **options):
    """Run the only claim of a suite."""
    (record,) = toy.session(**options).run().claims
    return record


@pytest.mark.parametrize(
    ("experiment", "status"),
    [
        ("GOOD", Status.SUPPORTED),
        ("DOUBTFUL", Status.INCONCLUSIVE),
        ("BAD", Status.REFUTED),
        ("NAN", Status.REFUTED),
        ("BROKEN", Status.ERROR),
        ("CRASH", Status.ERROR),
    ],
)
def test_status_of_an_experiment(toy, experiment, status):
    record = outcome(toy.claim("toy.one", experiment))
    assert record.status is status
    assert record.seconds > 0


def test_a_mistake_is_one_line_and_a_crash_keeps_its_traceback(toy, tmp_path):
    broken = outcome(toy.claim("toy.one", "BROKEN"))
    assert broken.message == "weight is NaN; expected finite values; use a smaller step"
    assert not broken.traceback
    other = type(toy)(tmp_path)
    crash = outcome(other.claim("toy.one", "CRASH"))
    assert crash.message == "ZeroDivisionError: division by zero"
    assert "raise error" in crash.traceback


def test_the_record_of_a_rate_can_be_drawn(toy):
    record = outcome(toy.rate("toy.rate"))
    (gate,) = record.gates
    assert record.status is Status.SUPPORTED
    assert record.points == gate.points
    assert len(gate.points) == 6
    assert (gate.rate, gate.x_label) == ("-1/2", "width n")
    assert gate.fit.slope == pytest.approx(-0.5, abs=0.01)
    assert record.estimate == gate.fit.slope
    assert record.interval == gate.fit.interval
    assert record.controls[0].gates[0].fit.slope == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize(
    ("control", "status"),
    [
        ("BAD", ControlStatus.CAUGHT),
        ("NAN", ControlStatus.CAUGHT),
        ("TOLD", ControlStatus.GREEN),  # measures the seed, 0
        ("DOUBTFUL", ControlStatus.GREEN),  # inconclusive is not caught
        ("BROKEN", ControlStatus.ERROR),  # neither is a control that never reaches its gate
        ("CRASH", ControlStatus.ERROR),
    ],
)
def test_status_of_a_control(toy, control, status):
    record = outcome(toy.claim("toy.one", control=control))
    assert record.status is Status.SUPPORTED
    assert record.controls[0].status is status
    assert bool(record.missed_controls) is (status is not ControlStatus.CAUGHT)


def test_controls_can_be_left_out(toy):
    toy.claim("toy.one", control="TOLD")
    assert outcome(toy, controls=False).controls == ()


def test_the_worst_gate_decides(toy):
    toy.append(
        '["toy.one"]\nkind = "exact"\nstatement = "x"\nsource = "own"\n'
        'experiment = "toy_two:TWO"\ncontrols = ["toy_two:NONE"]\n'
        '["toy.one".gates.first]\nat_most = "1"\n["toy.one".gates.second]\nat_least = "5"\n'
    )
    (toy.folder / "toy_two.py").write_text(
        "from rctheory.statistics.gates import Estimate\n"
        "from rctheory.suite.experiment import Experiment, Measurement\n"
        'TWO = Experiment("two", lambda c: Measurement({"first": Estimate(0.0), "second": Estimate(4.0)}))\n'
        'NONE = Experiment("none", lambda c: Measurement({}))\n'
    )
    record = outcome(toy)
    assert (record.status, record.gate, record.estimate) == (Status.REFUTED, "second", 4.0)
    assert record.controls[0].status is ControlStatus.ERROR  # it lacks the quantities of the gates
    assert "the same names" in record.controls[0].message


def test_a_proof_alone_supports_and_its_plants_are_caught(toy):
    record = outcome(toy.proof("toy.square"))
    assert (record.status, record.proof.status) == (Status.SUPPORTED, ProofStatus.DERIVED)
    (step,) = record.proof.steps
    assert "left(x + 1" in step.latex
    assert "x**2 + 2*x + 1" in step.text
    (plant,) = record.controls
    assert plant.status is ControlStatus.CAUGHT
    assert plant.title == "a wrong factor"


def test_a_failed_proof_refutes_and_says_where(toy):
    record = outcome(toy.proof("toy.square", factor="3"))
    assert (record.status, record.proof.status) == (Status.REFUTED, ProofStatus.FAILED)
    assert "the square of x + 1 is not" in record.proof.message


@pytest.mark.parametrize(
    ("factor", "status"),
    [("1", ControlStatus.GREEN), ("1 / 0 if planted else 1", ControlStatus.ERROR)],
)
def test_a_plant_that_breaks_nothing_is_told(toy, factor, status):
    record = outcome(toy.proof("toy.square", factor=factor))
    assert record.status is Status.SUPPORTED
    assert record.controls[0].status is status


def test_a_proof_of_another_claim_is_an_error(toy):
    toy.proof("toy.square")
    file = toy.folder / "claims.toml"
    file.write_text(file.read_text().replace("toy.square", "toy.circle"))
    record = outcome(toy)
    assert record.status is Status.ERROR
    assert "derives 'toy.square'" in record.message


def test_a_failed_proof_outweighs_a_good_experiment(toy):
    toy.proof("toy.square", factor="3")
    file = toy.folder / "claims.toml"
    text = file.read_text()
    links = f'experiment = "{toy.module}:GOOD"\ncontrols = ["{toy.module}:PLANTED"]\n'
    file.write_text(f'{text}{links}["toy.square".gates.error]\nat_most = "1e-6"\n')
    record = outcome(toy)
    assert record.status is Status.REFUTED
    assert record.gates[0].status.value == "supported"


def test_a_table_of_words_is_an_error_not_a_broken_file(toy):
    (toy.folder / "toy_words.py").write_text(
        "from rctheory.statistics.gates import Estimate\n"
        "from rctheory.suite.experiment import Experiment, Measurement, Table\n"
        'TABLE = Table("words", ("a",), ("b",), (("c",),))\n'
        'WORDS = Experiment("words", lambda c: Measurement({"error": Estimate(0.0)}, (TABLE,)))\n'
    )
    toy.claim("toy.one")
    file = toy.folder / "claims.toml"
    file.write_text(file.read_text().replace(f"{toy.module}:GOOD", "toy_words:WORDS"))
    record = outcome(toy)
    assert record.status is Status.ERROR
    assert "record.tables[0].values[0][0] = 'c'" in record.message
