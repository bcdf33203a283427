"""Parameters: their types, defaults, lists and structs, and what becomes of None."""

from typing import NamedTuple, Optional

from kfp import dsl

from corpus.expecting import expect


@dsl.component
def kind_of(value: dict) -> str:
    return ",".join(f"{key}:{type(found).__name__}" for key, found in sorted(value.items()))


@dsl.component
def several(i: int, f: float, s: str, b: bool, l: list, d: dict) -> NamedTuple(
    "Outputs", [("i", int), ("f", float), ("s", str), ("b", bool), ("l", list), ("d", dict)]
):
    return (i + 1, f / 2, s + "!", not b, [*l, 1.5], {**d, "more": [1, {"x": None}]})


@dsl.component
def default_of(value: int = 7, text: str = "a", flag: bool = True, items: list = [1, 2], extra: dict = {"a": 1}) -> str:
    return f"{value}{text}{flag}{items}{extra}"


@dsl.component
def optional(given: Optional[str] = None, number: Optional[int] = None) -> str:
    return f"{given}/{number}"


@dsl.component
def total(numbers: list) -> int:
    return sum(numbers)


@dsl.component
def echo(text: str) -> str:
    return text


@dsl.component
def wrong() -> int:
    return "not a number"


@dsl.component
def half() -> float:
    return 1


@dsl.component
def unicode(text: str) -> str:
    return text[::-1]


@expect(outputs={"kind-of": {"Output": "b:bool,d:dict,f:float,i:int,l:list,s:str"}})
@dsl.pipeline(name="struct-keeps-types")
def struct_keeps_types():
    kind_of(value={"i": 1, "f": 1.5, "s": "1", "b": True, "l": [1], "d": {}})


@expect(
    outputs={
        "several": {"i": 4, "f": 0.75, "s": "x!", "b": False, "l": [3, 1.5], "d": {"k": 1, "more": [1, {"x": None}]}}
    },
    arguments={"i": 3, "f": 1.5, "s": "x", "b": True, "l": [3], "d": {"k": 1}},
)
@dsl.pipeline(name="named-tuple-of-all-types")
def named_tuple_of_all_types(i: int, f: float, s: str, b: bool, l: list, d: dict):
    several(i=i, f=f, s=s, b=b, l=l, d=d)


@expect(outputs={"default-of": {"Output": "7aTrue[1, 2]{'a': 1}"}})
@dsl.pipeline(name="component-defaults")
def component_defaults():
    default_of()


@expect(outputs={"optional": {"Output": "None/None"}})
@dsl.pipeline(name="optional-without-value")
def optional_without_value(given: Optional[str] = None, number: Optional[int] = None):
    optional(given=given, number=number)


@expect(outputs={"optional": {"Output": "x/3"}}, arguments={"given": "x", "number": 3})
@dsl.pipeline(name="optional-with-value")
def optional_with_value(given: Optional[str] = None, number: Optional[int] = None):
    optional(given=given, number=number)


@expect(outputs={"total": {"Output": 6}})
@dsl.pipeline(name="list-constant")
def list_constant():
    total(numbers=[1, 2, 3])


@expect(outputs={"": {"Output": "in the middle of things"}, "echo-2": {"Output": "in the middle of things"}})
@dsl.pipeline(name="text-around-an-output")
def text_around_an_output(where: str = "middle") -> str:
    first = echo(text=where)
    return echo(text=f"in the {first.output} of things").set_display_name("around").output


@expect("FAILED", error="Function `wrong` returned value of type")
@dsl.pipeline(name="wrong-output-type")
def wrong_output_type():
    wrong()


@expect(outputs={"half": {"Output": 1}})
@dsl.pipeline(name="int-where-a-float-is-due")
def int_where_a_float_is_due():
    half()


@expect(
    outputs={"unicode": {"Output": "\U0001f40d\u00e9\n'\"$(id)}}{{"}},
    arguments={"text": "{{}})di($\"'\n\u00e9\U0001f40d"},
)
@dsl.pipeline(name="any-text")
def any_text(text: str):
    unicode(text=text)


@expect(
    outputs={"echo": {"Output": "{{$.inputs.parameters['text']}} {{$.pipeline_root}}"}},
    arguments={"text": "{{$.inputs.parameters['text']}} {{$.pipeline_root}}"},
)
@dsl.pipeline(name="a-value-is-no-template")
def a_value_is_no_template(text: str):
    echo(text=text)


@expect("REFUSED", arguments={"n": "three"}, error="parameter 'n' must be an integer")
@dsl.pipeline(name="wrong-argument-type")
def wrong_argument_type(n: int):
    default_of(value=n)


@expect("REFUSED", error="required parameter 'n' is missing")
@dsl.pipeline(name="missing-argument")
def missing_argument(n: int):
    default_of(value=n)
