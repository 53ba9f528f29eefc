"""Small suites written into a temporary folder, with experiments that come out as each test needs."""

import itertools
from pathlib import Path

from rctheory.suite.claims import Suite, load_suite
from rctheory.suite.session import Options, Session

_numbers = itertools.count()

MODULE = """
import math
from rctheory.errors import NumericsError
from rctheory.statistics.gates import Curve, Estimate
from rctheory.statistics.rates import Point
from rctheory.suite.experiment import Experiment, Measurement


def bound(value, interval=None):
    return Experiment("a number", lambda context: Measurement({"error": Estimate(value, interval)}))


def raising(error):
    def run(context):
        raise error
    return Experiment("raises", run)


def slope(exponent):
    def run(context):
        errors = {n: 3.0 * n**exponent * (1 + 0.001 * (-1) ** i) for i, n in enumerate((8, 16, 32, 64, 128, 256))}
        return Measurement({"slope": Curve(tuple(Point(n, error) for n, error in errors.items()))})
    return Experiment("a power law", run)


def messages(context):
    context.report_progress("half way")
    return Measurement({"error": Estimate(float(context.seed))}, remarks=(context.tier.value,))


GOOD = bound(1e-12)
BAD = bound(1.0)
PLANTED = bound(2.0)
DOUBTFUL = bound(1e-10, (0.0, 1.0))
NAN = bound(math.nan)
BROKEN = raising(NumericsError("weight is NaN", "finite values", "use a smaller step"))
CRASH = raising(ZeroDivisionError("division by zero"))
TOLD = Experiment("tells", messages)
STEEP, FLAT, HALVED = slope(-0.5), slope(0.0), slope(-0.25)
NUMBER = 3


def absent():
    raise NumericsError("no data set", "it to be installed", "install it")


NEEDY = Experiment("needs a data set", GOOD.run, absent)
"""

PROOF = """
import sympy
from rctheory.errors import DerivationError
from rctheory.suite.derivation import Derivation, Scope, Step

PLANTS = {PLANTS}


def derive(planted=None):
    x = sympy.Symbol("x")
    factor = {FACTOR}
    left, right = (x + 1) ** 2, sympy.expand((x + factor) ** 2)
    if sympy.expand(left - right) != 0:
        raise DerivationError("the square of x + 1 is not " + str(right), "equality", "look for the planted error")
    step = Step("Expand.", sympy.Eq(left, right, evaluate=False), "the difference expands to 0")
    return Derivation("{CLAIM}", Scope.DERIVED, ("x real",), (step,))
"""

CLAIM = """
["{name}"]
kind = "exact"
statement = 'It is $x$.'
source = "own"
{lines}
["{name}".gates.error]
at_most = "1e-6"
"""


class Toy:
    """A folder with `claims.toml` and modules of names that no other test uses."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.module = f"toy_module_{next(_numbers)}"
        (folder / f"{self.module}.py").write_text(MODULE)
        (folder / "claims.toml").write_text("")

    def append(self, text: str) -> "Toy":
        """Add text to claims.toml."""
        with (self.folder / "claims.toml").open("a") as stream:
            stream.write(text)
        return self

    def claim(self, name: str, experiment: str = "GOOD", control: str = "PLANTED", more: str = "") -> "Toy":
        """Add a claim with an experiment and a control of the module."""
        lines = f'experiment = "{self.module}:{experiment}"\ncontrols = ["{self.module}:{control}"]\n{more}'
        return self.append(CLAIM.format(name=name, lines=lines))

    def proof(self, name: str, factor: str = "2 if planted else 1", plants: str = '{"two": "a wrong factor"}') -> "Toy":
        """Add a claim that only a derivation shows; `factor` breaks it when it is not 1."""
        module = f"toy_proof_{next(_numbers)}"
        text = PROOF.replace("{FACTOR}", factor).replace("{PLANTS}", plants).replace("{CLAIM}", name)
        (self.folder / f"{module}.py").write_text(text)
        table = f'["{name}"]\nkind = "exact"\nstatement = "It is so."\nsource = "own"\nproof = "{module}:derive"\n'
        return self.append(table)

    def rate(self, name: str, experiment: str = "STEEP", control: str = "FLAT") -> "Toy":
        """Add a claim about a slope of -1/2."""
        links = f'experiment = "{self.module}:{experiment}"\ncontrols = ["{self.module}:{control}"]\n'
        table = f'["{name}"]\nkind = "rate"\nstatement = "It falls."\nsource = "own"\n{links}'
        return self.append(f'{table}["{name}".gates.slope]\nrate = "-1/2"\nmargin = "0.05"\n')

    def suite(self) -> Suite:
        """Load it."""
        return load_suite(self.folder)

    def session(self, out: Path | None = None, **options: object) -> Session:
        """Prepare a run of everything in this process."""
        suite = self.suite()
        folder = out or self.folder / "out"
        folder.mkdir(exist_ok=True)
        return Session(suite, suite.select(), Options(out=folder, **{"workers": 0, **options}))
