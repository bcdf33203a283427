"""YAML made to exhaust is refused in a moment; what people write is read."""

import pytest
import yaml

from zeroflow import safe_yaml

LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{name}: &{name} [*{before}, *{before}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


def test_what_is_written_by_hand_is_read() -> None:
    text = "base: &base {lr: 0.1, name: ä}\nother: *base\nlist: [1, 2.5, yes]\n"
    base = {"lr": 0.1, "name": "ä"}
    assert safe_yaml.load(text) == {"base": base, "other": base, "list": [1, 2.5, True]}
    assert safe_yaml.load(b"") is None


@pytest.mark.parametrize("text", ["[" * 200_000, "- " * 50_000, "{a: " * 50_000, LAUGHS], ids=lambda text: text[:4])
def test_what_exhausts_is_refused(text: str) -> None:
    # by a scanner that looks back the first one takes longer than a test may
    with pytest.raises(yaml.YAMLError, match=r"nested|nesting|aliases"):
        safe_yaml.load(text)


def test_nothing_of_python_is_made() -> None:
    with pytest.raises(yaml.YAMLError, match="could not determine a constructor"):
        safe_yaml.load("!!python/object/apply:os.system [echo]")
