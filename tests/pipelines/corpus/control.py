"""Conditions, loops, what they give, and what they skip."""

from typing import List

from kfp import dsl

from corpus.expecting import expect


@dsl.component
def number(n: int) -> int:
    return n


@dsl.component
def add(a: int, b: int) -> int:
    return a + b


@dsl.component
def join(items: list) -> str:
    return ",".join(f"{item}:{type(item).__name__}" for item in items)


@dsl.component
def listed(n: int) -> list:
    return list(range(n))


@dsl.component
def structs() -> list:
    return [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]


@dsl.component
def text_of(a: int, b: str) -> str:
    return f"{a}{b}"


@dsl.component
def say(text: str) -> str:
    return text


@dsl.component
def length(items: list) -> int:
    return len(items)


@expect(outputs={"join": {"Output": "2:int,3:int,4:int"}})
@dsl.pipeline(name="collected-keeps-ints")
def collected_keeps_ints():
    with dsl.ParallelFor([1, 2, 3]) as item:
        one = add(a=item, b=1)
    join(items=dsl.Collected(one.output))


@expect(outputs={"join": {"Output": "[[0, 0], [0, 1]]:list,[[1, 0], [1, 1]]:list"}})
@dsl.pipeline(name="collected-of-collected")
def collected_of_collected():
    @dsl.component
    def pair(a: int, b: int) -> list:
        return [a, b]

    with dsl.ParallelFor([0, 1]) as a, dsl.ParallelFor([0, 1]) as b:
        made = pair(a=a, b=b)
    join(items=dsl.Collected(made.output))


@expect(outputs={"join": {"Output": "0:int,1:int,2:int,3:int"}}, arguments={"n": 4})
@dsl.pipeline(name="loop-over-an-output")
def loop_over_an_output(n: int):
    with dsl.ParallelFor(listed(n=n).output, parallelism=2) as item:
        one = number(n=item)
    join(items=dsl.Collected(one.output))


@expect(outputs={"join": {"Output": "1x:str,2y:str"}})
@dsl.pipeline(name="members-of-items")
def members_of_items():
    with dsl.ParallelFor(structs().output) as item:
        one = text_of(a=item.a, b=item.b)
    join(items=dsl.Collected(one.output))


@expect(outputs={"length": {"Output": 0}}, arguments={"items": []})
@dsl.pipeline(name="loop-over-nothing")
def loop_over_nothing(items: List[int]):
    with dsl.ParallelFor(items) as item:
        one = number(n=item)
    length(items=dsl.Collected(one.output))


@expect(outputs={"say-4": {"Output": "big"}}, arguments={"n": 11})
@dsl.pipeline(name="one-of-branches")
def one_of_branches(n: int):
    with dsl.If(n > 10):
        big = say(text="big").set_display_name("big")
    with dsl.Elif(n > 5):
        middle = say(text="middle")
    with dsl.Else():
        small = say(text="small")
    say(text=dsl.OneOf(big.output, middle.output, small.output))


@expect(outputs={"": {"Output": "small"}}, arguments={"n": 1})
@dsl.pipeline(name="one-of-as-the-pipelines-output")
def one_of_as_the_pipelines_output(n: int) -> str:
    with dsl.If(n > 10):
        big = say(text="big")
    with dsl.Else():
        small = say(text="small")
    return dsl.OneOf(big.output, small.output)


@dsl.component
def parity(n: int) -> str:
    return "even" if n % 2 == 0 else "odd"


@dsl.pipeline
def word(n: int) -> str:
    found = parity(n=n)
    with dsl.If(found.output == "even"):
        even = say(text="even")
    with dsl.Else():
        odd = say(text="odd")
    return dsl.OneOf(even.output, odd.output)


@expect(outputs={"join": {"Output": "odd:str,even:str,odd:str"}})
@dsl.pipeline(name="branches-in-a-loop")
def branches_in_a_loop():
    with dsl.ParallelFor([1, 2, 3]) as item:
        one = word(n=item)
    join(items=dsl.Collected(one.output))


@expect(skipped=("condition-1",), outputs={"say-2": {"Output": "after"}}, arguments={"n": 1})
@dsl.pipeline(name="a-condition-that-is-false")
def a_condition_that_is_false(n: int):
    with dsl.If(n == 2):
        say(text="never").set_retry(1)
    say(text="after")


@expect(outputs={"condition-1.say": {"Output": "yes"}}, arguments={"flag": True, "word": "go", "x": 0.5})
@dsl.pipeline(name="conditions-on-other-types")
def conditions_on_other_types(flag: bool, word: str, x: float):
    with dsl.If(flag == True):
        say(text="yes")
    with dsl.If(word != "go"):
        say(text="no")
    with dsl.If(x >= 1.0):
        say(text="no")
