"""CloudEvents SQL: literals, operators, casts, functions and errors as its specification has them.

Expected values are worked out from CloudEvents SQL 1.0; ERROR stands for an evaluation that reports one.
"""

from __future__ import annotations

import pytest

from zeroflow.knative.local.eventing.cesql import SyntaxFault, compile_expression, compile_filter
from zeroflow.knative.local.eventing.cesql_functions import EvaluationError
from zeroflow.knative.local.eventing.errors import InvalidSpec
from zeroflow.knative.local.eventing.filters import compile_spec

ERROR = object()
EVENT: dict[str, str | int | bool] = {
    "specversion": "1.0",
    "id": "order-1",
    "type": "com.example.order.created",
    "source": "https://shop.example.com/orders",
    "time": "2026-01-02T03:04:05+02:00",
    "hop": "5",
    "ttl": "10",
    "number": 10,
    "flag": True,
    "firstname": "Ada",
}

CASES: dict[str, object] = {
    # literals
    "TRUE": True,
    "false": False,
    "0": 0,
    "-7": -7,
    "+7": 7,
    "2147483647": 2147483647,
    "-2147483648": -2147483648,
    "'aBc'": "aBc",
    '"aBc"': "aBc",
    r"""'a"b\'c'""": "a\"b'c",
    r'''"a'b\"c"''': "a'b\"c",
    # attributes keep their types; what is missing is an error
    "id": "order-1",
    "number": 10,
    "flag": True,
    "time": "2026-01-02T03:04:05+02:00",
    "subject": ERROR,
    "missing": ERROR,
    "EXISTS id": True,
    "exists subject": False,
    "NOT EXISTS subject": True,
    # equality: the left side is cast to the type of the right one
    "TRUE = FALSE": False,
    "2 = 2": True,
    "'abc' = '123'": False,
    "2 != 3": True,
    "'a' <> 'a'": False,
    "true = 'TRUE'": False,
    "'TRUE' = true": True,
    "hop = 5": True,
    "number = '10'": True,
    "'x' = 5": ERROR,
    "missing = 2": ERROR,
    "missing != 2": ERROR,
    "NOT (missing = 'x')": ERROR,
    # order
    "3 <= 2": False,
    "2 <= 2": True,
    "1 < 2": True,
    "2 >= 3": False,
    "2 > 1": True,
    "hop < ttl": True,
    "int(hop) < INT(ttl) and Int(hop) < 1000": True,
    "'a' < 'b'": ERROR,
    # arithmetic
    "4 * 2 + 4 / 2": 10,
    "4 * (2 + 4) / 2": 12,
    "10 - 2 - 3": 5,
    "5 / 3": 1,
    "-5 / 3": -1,
    "5 % 2": 1,
    "-5 % 3": -2,
    "5 % -3": 2,
    "5 / 0": ERROR,
    "5 % 0": ERROR,
    "4 + -1": 3,
    "-4 -1": -5,
    "'5' + '3'": 8,
    "5 + TRUE": 6,
    "-hop": -5,
    "-(1 + 2)": -3,
    "2147483647 + 1": ERROR,
    "-(-2147483648)": ERROR,
    # logic
    "TRUE AND FALSE": False,
    "FALSE OR TRUE": True,
    "TRUE XOR TRUE": False,
    "FALSE XOR TRUE": True,
    "false and (1 != 1 / 0)": False,
    "true and (1 != 1 / 0)": ERROR,
    "true or missing": True,
    "false or missing": ERROR,
    "NOT TRUE": False,
    "NOT 'false'": True,
    "NOT 'other'": ERROR,
    "'TRUE' and 1": True,
    "FALSE AND TRUE OR TRUE": False,  # one precedence, to the right: FALSE AND (TRUE OR TRUE)
    # LIKE
    "'abc' LIKE 'abc'": True,
    "'azzzbzzzc' LIKE 'a%b%c'": True,
    "'' LIKE 'abc'": False,
    "'.ab.cde.' LIKE '.%.%.'": True,
    "'ab.cde' LIKE '.%.%.'": False,
    "'azbzc' LIKE 'a_b_c'": True,
    "'abzc' LIKE 'a_b_c'": False,
    r"'a_b_c' LIKE 'a\_b\_c'": True,
    r"'azbzc' LIKE 'a\_b\_c'": False,
    r"'a%b%c' LIKE 'a\%b\%c'": True,
    r"'abc' NOT LIKE 'a\%c'": True,
    r"'ab\c' LIKE 'ab\c'": True,
    r"'it\'s' LIKE 'it\'_'": True,
    "'a\nb' LIKE 'a%b'": True,
    "234 LIKE '23_'": True,
    "FALSE LIKE 'fal%'": True,
    "type like '%.created' AND source LIKE 'https://%'": True,
    "missing LIKE 'x%'": ERROR,
    # IN: the elements are cast to the type of what is looked for
    "123 IN (1, 2, '123')": True,
    "'a' NOT IN ('a', 'b')": False,
    "firstname in ('Grace', 'Ada')": True,
    "hop IN (4, 5)": True,
    "1 IN ('x')": ERROR,
    # casts
    "INT('-1')": -1,
    "INT(TRUE)": 1,
    "INT('ABC')": ERROR,
    "INT('1.5')": ERROR,
    "INT('99999999999')": ERROR,
    "BOOL('TRUE')": True,
    "BOOL('ABC')": ERROR,
    "BOOL(-50)": True,
    "BOOL(0)": False,
    "STRING(FALSE)": "false",
    "STRING(-1)": "-1",
    # functions
    "ABS(-10)": 10,
    "ABS(-2147483648)": ERROR,
    "LENGTH(TRUE)": 4,
    "CONCAT()": "",
    "CONCAT('a', 1, true)": "a1true",
    "CONCAT_WS(',')": "",
    "CONCAT_WS(',', 'a', 'b', 'c')": "a,b,c",
    "LOWER('AbC')": "abc",
    "UPPER('AbC')": "ABC",
    "TRIM('  a b  ')": "a b",
    "LEFT('abc', 2)": "ab",
    "LEFT('abc', 10)": "abc",
    "LEFT('abc', -2)": ERROR,
    "RIGHT('abc', 2)": "bc",
    "RIGHT('abc', 0)": "",
    "RIGHT('abc', -2)": ERROR,
    "SUBSTRING('abcdef', 2)": "bcdef",
    "SUBSTRING('Sakila', -3)": "ila",
    "SUBSTRING('abcdef', 2, 4)": "bcde",
    "SUBSTRING('Sakila', -5, 3)": "aki",
    "SUBSTRING('abc', 0)": "",
    "SUBSTRING('abc', 0, 1)": "",
    "SUBSTRING('abc', 10)": ERROR,
    "SUBSTRING('abc', -10, 10)": ERROR,
    "SUBSTRING('abc', 1, -1)": ERROR,
}


@pytest.mark.parametrize(("expression", "expected"), CASES.items(), ids=CASES)
def test_an_expression_has_the_value_of_the_specification(expression: str, expected: object) -> None:
    compiled = compile_expression(expression)
    if expected is ERROR:
        with pytest.raises(EvaluationError):
            compiled(EVENT)
    else:
        value = compiled(EVENT)
        assert (type(value), value) == (type(expected), expected)
    assert compile_filter(expression)(EVENT) is (expected is True)


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "1 +",
        "(1",
        "1)",
        "a b",
        "'open",
        "EXISTS 'id'",
        "Type = 'x'",
        "id LIKE type",
        "id IN ()",
        "id IN 'a'",
        "id NOT 'a'",
        "NOPE(1)",
        "LENGTH()",
        "CONCAT_WS()",
        "SUBSTRING('a', 1, 2, 3)",
        "2147483648",
        "id = 'a';",
        "a.b = 1",
        "(" * 300 + "1" + ")" * 300,
        "'x' = '" + "y" * 5000 + "'",
    ],
    ids=lambda text: text[:20] or "empty",
)
def test_what_is_no_expression_is_refused_when_it_is_declared(expression: str) -> None:
    with pytest.raises(SyntaxFault):
        compile_expression(expression)


def test_a_trigger_filters_by_an_expression_and_an_error_does_not_pass() -> None:
    wants = compile_spec({"filters": [{"cesql": "type LIKE 'com.example.%'"}, {"not": {"cesql": "missing = 'x'"}}]})
    assert wants(EVENT)
    assert not compile_spec({"filters": [{"cesql": "missing = 'x'"}]})(EVENT)
    assert not compile_spec({"filters": [{"cesql": "number"}]})(EVENT)
    with pytest.raises(InvalidSpec, match=r"spec.filters\[0\].cesql: invalid CloudEvents SQL: at 4: expected"):
        compile_spec({"filters": [{"cesql": "id ="}]})
