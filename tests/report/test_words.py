"""Numbers, durations and formulas in words."""

import math

import pytest

from rctheory.report.mathematics import is_wide, mathml, prose
from rctheory.report.summary import foundation, interval, number, seconds
from tests.report.synthetic import evidence


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.0, "0"),
        (-0.5012, "−0.501"),
        (0.0213, "0.0213"),
        (1.234e-5, "1.23e−5"),
        (-1.234e-5, "−1.23e−5"),
        (1234.0, "1234"),
        (999.96, "1000"),
        (123456.0, "1.23e5"),
        (math.nan, "nan"),
        (math.inf, "inf"),
    ],
)
def test_number(value, text):
    assert number(value) == text


def test_interval_and_seconds():
    assert interval(None) == "–"
    assert interval((-1.0, 2.5)) == "[−1, 2.5]"
    assert (seconds(9.96), seconds(99.9), seconds(125.2)) == ("10.0 s", "99.9 s", "2 min 05 s")


def test_prose_escapes_words_and_converts_formulas():
    html = prose("a < b and $x < y$ & $z^2$")
    assert "a &lt; b and <math" in html
    assert "<msup>" in html
    assert "&amp;" in html
    assert html.count("<math") == 2


def test_what_cannot_be_converted_is_shown_as_source():
    assert mathml(r"\frac{1}{") == r"<code>\frac{1}{</code>"


def test_foundations_go_all_the_way_down():
    whole = evidence()
    found = foundation(whole, whole.claims[1])
    assert (found.unsupported, found.absent) == ((), ())


def test_long_formulas_get_a_line_of_their_own():
    assert not is_wide(r"\operatorname{Var}{\left(f_{n} \right)} = \frac{S^{2}}{n}")
    assert is_wide(" + ".join(rf"\sum_{{i=1}}^{{n}} a_{{{k}}}" for k in range(12)))


def test_indices_stand_one_above_the_other_and_slashes_are_tight():
    assert "<msubsup>" in mathml(r"{W^{2}}_{i,j}")
    assert mathml("n^{-1/2}").count('lspace="0"') == 1
