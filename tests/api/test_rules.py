"""CEL rules of custom kinds. Expected values follow Kubernetes' documentation of x-kubernetes-validations."""

import json
import subprocess
import sys

import pytest

from zeroflow.knative.local.api import crds
from zeroflow.knative.local.api.schemas.rules import broken, check_rules
from zeroflow.knative.local.api.schemas.schema import BadSchema, compile_schema

TEXT = {"type": "string"}
WHOLE = {"type": "integer"}


def thing(*rules, **properties):
    """Return a compiled schema whose `spec` has these rules and properties."""
    written = [rule if isinstance(rule, dict) else {"rule": rule} for rule in rules]
    spec = {"type": "object", "properties": properties, "x-kubernetes-validations": written}
    return compile_schema({"type": "object", "properties": {"spec": spec}}, "schema")


def said(schema, spec, *old):
    check_rules(schema, "schema")
    before = ({"spec": old[0]},) if old else ()
    return [f"{cause.field}: {cause.message}" for cause in broken(schema, {"spec": spec}, *before)]


@pytest.mark.parametrize(
    ("rule", "spec", "holds"),
    [
        ("self.min <= self.max", {"min": 1, "max": 2}, True),
        ("self.min <= self.max", {"min": 3, "max": 2}, False),
        ("!has(self.min) || self.min > 0", {}, True),
        ("has(self.min) == has(self.max)", {"min": 1}, False),
        ("self.words.all(w, w.matches('^[a-z]+$'))", {"words": ["a", "bc"]}, True),
        ("self.words.exists_one(w, w == 'a')", {"words": ["a", "a"]}, False),
        ("self.words.exists(w, w.startsWith('x')) || size(self.words) == 0", {"words": []}, True),
        ("self.labels.all(k, self.labels[k] != '')", {"labels": {"a": ""}}, False),
        ("'a' in self.labels", {"labels": {"a": "1"}}, True),
        ("self.ports.map(p, p.port).sum() < 100", {"ports": [{"port": 50}, {"port": 60}]}, False),
        ("self.ports.filter(p, p.port > 55).size() == 1", {"ports": [{"port": 50}, {"port": 60}]}, True),
        ("self.ratio >= 1", {"ratio": 1}, True),
        ("self.ratio + 0.5 == 1.5", {"ratio": 1}, True),
        ("type(self.either) == int ? self.either < 10 : self.either.endsWith('%')", {"either": "5%"}, True),
        ("type(self.either) == int ? self.either < 10 : self.either.endsWith('%')", {"either": 12}, False),
        ("self.since > timestamp('2024-01-01T00:00:00Z')", {"since": "2023-01-01T00:00:00Z"}, False),
        ("self.every >= duration('1m')", {"every": "90s"}, True),
        ("size(self.raw) == 2", {"raw": "aGk="}, True),
        ("self.foo__dash__bar == 'x'", {"foo-bar": "x"}, True),
        ("self.__namespace__ == 'x'", {"namespace": "x"}, True),
        ("self.namespace == 'x'", {"namespace": "x"}, True),
        ("self.nested.deep.all(row, row.all(x, x > 0))", {"nested": {"deep": [[1], [0]]}}, False),
        ("quantity(self.size).isLessThan(quantity('1Gi'))", {"size": "500Mi"}, True),
        ("quantity('1000m') == quantity('1')", {}, True),
        ("isQuantity('1Gb')", {}, False),
        ("semver('1.2.3').isLessThan(semver('1.10.0')) && semver('1.2.3').minor() == 2", {}, True),
        ("semver('1.0.0-alpha.2').isLessThan(semver('1.0.0-alpha.10'))", {}, True),
        ("semver('1.0.0').compareTo(semver('1.0.0-rc.1')) == 1", {}, True),
        ("isSemver('1.0') || isSemver('v1.0.0') || isSemver('01.0.0')", {}, False),
        ("isSemver('v1', true) && semver('v01.1', true).patch() == 0", {}, True),
        ("isURL('https://example.com') && url('https://example.com:80/x').getPort() == '80'", {}, True),
        ("cidr('10.0.0.0/8').containsIP('10.1.2.3') && !isIP('10.0.0')", {}, True),
        ("'a1b22'.findAll('[0-9]+') == ['1', '22'] && 'abc'.find('b+') == 'b'", {}, True),
        ("[1, 2, 2].isSorted() && [3, 1].min() == 1 && 'abc'.indexOf('b') == 1", {}, True),
        ("sets.contains(['a', 'b'], self.words)", {"words": ["b"]}, True),
        ("self.?min.orValue(7) == 7", {}, True),
        ("'%s-%d'.format(['a', 1]) == 'a-1' && 'a,b'.split(',').join('+') == 'a+b'", {}, True),
    ],
)
def test_a_rule_holds_or_breaks(rule, spec, holds):
    schema = thing(
        rule,
        min=WHOLE,
        max=WHOLE,
        words={"type": "array", "items": TEXT},
        labels={"type": "object", "additionalProperties": TEXT},
        ports={"type": "array", "items": {"type": "object", "properties": {"port": WHOLE}}},
        ratio={"type": "number"},
        either={"x-kubernetes-int-or-string": True},
        since={"type": "string", "format": "date-time"},
        every={"type": "string", "format": "duration"},
        raw={"type": "string", "format": "byte"},
        size=TEXT,
        namespace=TEXT,
        nested={
            "type": "object",
            "properties": {"deep": {"type": "array", "items": {"type": "array", "items": WHOLE}}},
        },
        **{"foo-bar": TEXT},
    )
    assert said(schema, spec) == ([] if holds else [f'spec: Invalid value: "object": failed rule: {rule}'])


def test_messages_reasons_and_field_paths():
    schema = thing(
        {"rule": "self.a < 5", "message": "a must be small"},
        {"rule": "self.a < 6", "messageExpression": "'a is %d'.format([self.a])"},
        {"rule": "self.a < 7", "reason": "FieldValueForbidden", "fieldPath": ".a", "message": "not so much"},
        {"rule": "self.a < 8", "reason": "FieldValueRequired", "fieldPath": ".b", "message": "b is needed"},
        a=WHOLE,
        b=TEXT,
    )
    assert said(schema, {"a": 9}) == [
        'spec: Invalid value: "object": a must be small',
        'spec: Invalid value: "object": a is 9',
        "spec.a: Forbidden: not so much",
        "spec.b: Required value: b is needed",
    ]


def test_a_rule_without_an_answer_refuses_and_says_why():
    schema = thing({"rule": "self.a / self.b > 0", "message": "division"}, a=WHOLE, b=WHOLE)
    assert said(schema, {"a": 1, "b": 0}) == [
        'spec: Invalid value: "object": division by zero evaluating rule: division'
    ]
    assert said(schema, {"a": 1}) == ['spec: Invalid value: "object": no such key: b evaluating rule: division']


def test_rules_of_fields_items_and_values_name_their_place():
    positive = {"type": "integer", "x-kubernetes-validations": [{"rule": "self > 0", "message": "be positive"}]}
    schema = thing(
        one=positive, many={"type": "array", "items": positive}, by={"type": "object", "additionalProperties": positive}
    )
    assert said(schema, {"one": 0, "many": [1, 0], "by": {"x": 0}}) == [
        'spec.one: Invalid value: "integer": be positive',
        'spec.many[1]: Invalid value: "integer": be positive',
        'spec.by.x: Invalid value: "integer": be positive',
    ]


def test_transition_rules_hold_for_changes_alone():
    schema = thing({"rule": "self == oldSelf", "message": "is immutable"}, a=WHOLE)
    assert said(schema, {"a": 1}) == []
    assert said(schema, {"a": 1}, {"a": 1}) == []
    assert said(schema, {"a": 2}, {"a": 1}) == ['spec: Invalid value: "object": is immutable']


def test_optional_old_self_speaks_of_creation_too():
    schema = thing(
        {"rule": "oldSelf.hasValue() || self.a == 1", "optionalOldSelf": True, "message": "starts at 1"}, a=WHOLE
    )
    assert said(schema, {"a": 1}) == []
    assert said(schema, {"a": 2}) == ['spec: Invalid value: "object": starts at 1']
    assert said(schema, {"a": 2}, {"a": 1}) == []


def test_items_of_a_keyed_list_are_compared_with_their_former_selves():
    item = {
        "type": "object",
        "required": ["name"],
        "properties": {"name": TEXT, "size": WHOLE},
        "x-kubernetes-validations": [{"rule": "self.size >= oldSelf.size", "message": "never shrinks"}],
    }
    keyed = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
    schema = thing(volumes={"type": "array", "items": item} | keyed)
    old = {"volumes": [{"name": "a", "size": 1}, {"name": "b", "size": 5}]}
    new = {"volumes": [{"name": "b", "size": 4}, {"name": "c", "size": 1}, {"name": "a", "size": 2}]}
    assert said(schema, new, old) == ['spec.volumes[0]: Invalid value: "object": never shrinks']


def test_what_an_update_leaves_as_it_was_is_not_complained_about():
    inner = {"type": "object", "properties": {"x": WHOLE}, "x-kubernetes-validations": [{"rule": "self.x > 0"}]}
    schema = thing(inner=inner, other=WHOLE)
    assert said(schema, {"inner": {"x": 0}, "other": 2}, {"inner": {"x": 0}, "other": 1}) == []
    assert said(schema, {"inner": {"x": -1}}, {"inner": {"x": 0}}) != []


def test_the_root_knows_its_name():
    root = {"type": "object", "properties": {}, "x-kubernetes-validations": [{"rule": "self.metadata.name != 'bad'"}]}
    schema = compile_schema(root, "schema")
    check_rules(schema, "schema")
    assert not list(broken(schema, {"metadata": {"name": "good"}}))
    assert [cause.message for cause in broken(schema, {"metadata": {"name": "bad"}})] == [
        "Invalid value: \"object\": failed rule: self.metadata.name != 'bad'"
    ]


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("self.nope == 1", "compilation failed: ERROR: <input>:1:5: undefined field 'nope'"),
        ("self.a == 'x'", "found no matching overload for '_==_' applied to '(int, string)'"),
        ("self.a +", "Syntax error"),
        ("self.a", "must evaluate to bool, not int"),
        ("nothing(self.a)", "undeclared reference to 'nothing'"),
    ],
)
def test_a_rule_that_does_not_compile_is_refused_with_its_place(rule, words):
    with pytest.raises(BadSchema) as refused:
        check_rules(thing(rule, a=WHOLE), "schema")
    where, why = refused.value.args
    assert where == "schema.properties[spec].x-kubernetes-validations[0].rule"
    assert words in why


def test_every_official_definition_is_accepted(contracts):
    found = 0
    for path in sorted(contracts.glob("*/crds/*.json")):
        definition = json.loads(path.read_text())
        if definition.get("kind") == "CustomResourceDefinition":
            kind = crds.kind_of(definition)
            crds.check_rules(kind, definition)
            found += kind.schema is not None and kind.schema.ruled
    assert found >= 9


def test_old_values_that_cannot_be_told_apart_are_refused():
    item = {"type": "integer", "x-kubernetes-validations": [{"rule": "self >= oldSelf"}]}
    with pytest.raises(BadSchema, match="uncorrelatable portion of the schema"):
        check_rules(thing(many={"type": "array", "items": item}), "schema")


def test_the_library_is_loaded_with_the_first_rule_and_not_before():
    code = (
        "import sys\n"
        "from zeroflow.knative.local.api.crds import bundled\n"
        "from zeroflow.knative.local.api import store\n"
        "assert not [name for name in sys.modules if name.startswith(('cel_expr', 'google'))]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_rule_that_looks_at_too_much_ends_the_validation():
    words = {"type": "array", "items": TEXT}
    schema = thing("self.words.all(a, self.words.all(b, a + b != 'x'))", "false", words=words)
    assert said(schema, {"words": ["w"] * 300}) == [
        'spec: Invalid value: "object": no further validation rules will be run due to call cost exceeds limit for '
        "rule: self.words.all(a, self.words.all(b, a + b != 'x'))"
    ]


def test_the_rules_of_one_object_have_a_budget_together(monkeypatch):
    monkeypatch.setattr("zeroflow.knative.local.api.schemas.rules.BUDGET_S", 0.05)
    item = TEXT | {"x-kubernetes-validations": [{"rule": "self.find('[a-z]+$') != 'b'"}]}
    schema = thing(words={"type": "array", "items": item})
    (cause,) = said(schema, {"words": ["a" * 1000] * 10_000})
    assert cause.endswith(
        "validation failed due to running out of cost budget, no further validation rules will be run"
    )


@pytest.mark.parametrize("rule", ["self.text.find('(a+)+$') == ''", "self.text.findAll('(a|a)*b') == []"])
def test_no_pattern_takes_longer_than_its_text_is_long(rule):
    assert said(thing(rule, text=TEXT), {"text": "a" * 50_000 + "!"}) == []


def test_sets_of_many_items_are_compared_in_no_time():
    numbers = {"type": "array", "items": WHOLE}
    rules = ("sets.contains(self.a, self.a)", "sets.equivalent(self.a, self.a)", "!sets.intersects(self.a, self.b)")
    assert said(thing(*rules, a=numbers, b=numbers), {"a": list(range(9000)), "b": list(range(9000, 18000))}) == []
    assert said(thing("!sets.contains([1], [true])"), {}) == []


def test_patterns_are_those_of_an_api_server():
    schema = compile_schema({"type": "string", "pattern": r"^(a+)+[[:digit:]]\z"}, "schema")
    assert schema.pattern.search("a" * 50_000) is None
    assert schema.pattern.search("aa1")
    with pytest.raises(BadSchema, match=r"must be a valid regular expression: invalid perl operator"):
        compile_schema({"type": "string", "pattern": "(?<=a)b"}, "schema")


def test_a_loop_over_a_long_text_is_not_begun():
    words = {"type": "array", "items": TEXT}
    schema = thing("self.words.all(w, !self.text.matches('^[ab]*c$'))", words=words, text=TEXT)
    assert said(schema, {"words": ["w"] * 200, "text": "ab" * 500_000}) == []
    assert said(schema, {"words": ["w"] * 5000, "text": "ab" * 5000}) == []
    (cause,) = said(schema, {"words": ["w"] * 5000, "text": "ab" * 500_000})
    assert "call cost exceeds limit for rule: self.words.all" in cause
