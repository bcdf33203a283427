"""GJSON paths: the examples of its SYNTAX.md and of KServe's documentation, with the results that they state."""

from typing import Any

import pytest

from zeroflow.inference.gjson import MISSING, BadPath, check, exists, get

DOCUMENT: dict[str, Any] = {
    "name": {"first": "Tom", "last": "Anderson"},
    "age": 37,
    "children": ["Sara", "Alex", "Jack"],
    "fav.movie": "Deer Hunter",
    "friends": [
        {"first": "Dale", "last": "Murphy", "age": 44, "nets": ["ig", "fb", "tw"]},
        {"first": "Roger", "last": "Craig", "age": 68, "nets": ["fb", "tw"]},
        {"first": "Jane", "last": "Murphy", "age": 47, "nets": ["ig", "tw"]},
    ],
}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("name.last", "Anderson"),
        ("name.first", "Tom"),
        ("age", 37),
        ("children", ["Sara", "Alex", "Jack"]),
        ("children.0", "Sara"),
        ("children.1", "Alex"),
        ("friends.1.first", "Roger"),
        ("child*.2", "Jack"),
        ("c?ildren.0", "Sara"),
        ("fav\\.movie", "Deer Hunter"),
        ("friends.#", 3),
        ("friends.#.age", [44, 68, 47]),
        ('friends.#(last=="Murphy").first', "Dale"),
        ('friends.#(last=="Murphy")#.first', ["Dale", "Jane"]),
        ("friends.#(age>45)#.last", ["Craig", "Murphy"]),
        ('friends.#(first%"D*").last', "Murphy"),
        ('friends.#(first!%"D*").last', "Craig"),
        ('friends.#(nets.#(=="fb"))#.first', ["Dale", "Roger"]),
        ('friends.#(last="Craig").age', 68),
        ("children.#(%*a*)", "Sara"),
        ("children|@reverse", ["Jack", "Alex", "Sara"]),
        ("children|@reverse|0", "Jack"),
        ("friends|0|first", "Dale"),
        (
            '{name.first,age,"murphys":friends.#(last="Murphy")#.first}',
            {"first": "Tom", "age": 37, "murphys": ["Dale", "Jane"]},
        ),
        ("[name.first,age]", ["Tom", 37]),
        ("[@this].#(age>30).age", 37),
        ("friends.#(age>99)#", []),
        ("friends.#(nets)#.first", ["Dale", "Roger", "Jane"]),
        ("name.@keys", ["first", "last"]),
        ("friends.#.nets|@flatten", ["ig", "fb", "tw", "fb", "tw", "ig", "tw"]),
        ("none", MISSING),
        ("children.3", MISSING),
        ("age.x", MISSING),
        ("name.#", MISSING),
        ("friends.#(age>99)", MISSING),
        ("friends.#(first>5)", {"first": "Dale", "last": "Murphy", "age": 44, "nets": ["ig", "fb", "tw"]}),
    ],
)
def test_paths_of_the_documentation(path: str, expected: Any) -> None:
    assert get(DOCUMENT, path) == expected


@pytest.mark.parametrize(
    ("document", "condition", "matches"),
    [
        ({"source": "client"}, "[@this].#(source==client)", True),
        ({"source": "other"}, "[@this].#(source==client)", False),
        ({"instances": [{"intval": 11}]}, "instances.#(intval>10)", True),
        ({"instances": [{"intval": 10}]}, "instances.#(intval>10)", False),
        ({"instances": [{"strval": "a red-server here"}]}, "instances.#(strval%*red-server*)", True),
        ({"instances": [{"strval": "blue"}]}, "instances.#(strval%*red-server*)", False),
        ({"predictions": [1, 2]}, "predictions.#(>1)", True),
        ({"predictions": [0.2]}, "predictions.#(>0.5)", False),
        ({"ok": False, "items": [{"on": True}]}, "items.#(on==true)", True),
        ({"items": [{"on": False}]}, "items.#(on==~true)", False),
        ({"items": [{"on": "yes"}]}, "items.#(on==~true)", True),
        ({"items": [{}]}, "items.#(on==~null)", True),
        ({"target": None}, "target", True),
        ([1, 2], "#", True),
    ],
)
def test_conditions_of_graphs(document: Any, condition: str, matches: bool) -> None:
    assert exists(document, condition) is matches


@pytest.mark.parametrize(
    "path", ["", "a..", "a.#(b", "@unknown", "a|@join", "..0", "!x", "[a", "a.#(b)x", "(" * 100, "#(" * 50 + ")" * 50]
)
def test_what_is_no_path_is_refused(path: str) -> None:
    if path == "(" * 100:
        check(path)  # a strange key is a key
        return
    with pytest.raises(BadPath):
        check(path)
