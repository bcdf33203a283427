"""Commands: placeholders, Concat, IfPresent, outputs by file, exit codes; code that is in an image."""

from typing import Optional

from kfp import dsl
from kfp.dsl import Dataset, Input, Output

from corpus.expecting import expect


@dsl.container_component
def concatenated(a: str, b: str, text: dsl.OutputPath(str)):
    return dsl.ContainerSpec(
        image="alpine", command=["sh", "-ec", 'printf %s "$0" > "$1"'], args=[dsl.ConcatPlaceholder([a, "-", b]), text]
    )


@dsl.container_component
def perhaps(text: dsl.OutputPath(str), name: Optional[str] = None):
    return dsl.ContainerSpec(
        image="alpine",
        command=["sh", "-ec", 'out="$0"; mkdir -p "$(dirname "$out")"; printf "%s" "$*" > "$out"'],
        args=[text, dsl.IfPresentPlaceholder(input_name="name", then=["--name", name], else_=["--anonymous"])],
    )


@dsl.container_component
def counted(data: Input[Dataset], made: Output[Dataset], lines: dsl.OutputPath(int), kind: dsl.OutputPath(dict)):
    return dsl.ContainerSpec(
        image="busybox",
        command=["sh", "-ec"],
        args=[
            'mkdir -p "$(dirname "$1")" "$(dirname "$2")" "$(dirname "$3")"; wc -l < "$0" > "$2"; sort "$0" > "$1";'
            ' printf \'{"a": [1, true]}\' > "$3"',
            data.path,
            made.path,
            lines,
            kind,
        ],
    )


@dsl.container_component
def exits(code: int):
    return dsl.ContainerSpec(image="alpine", command=["sh", "-c", 'exit "$0"'], args=[code])


@dsl.container_component
def absent_program():
    return dsl.ContainerSpec(image="alpine", command=["no-such-program-anywhere"])


@dsl.container_component
def image_alone():
    return dsl.ContainerSpec(image="registry.example/me/tool:1")


@dsl.container_component
def mapped_image(text: dsl.OutputPath(str)):
    return dsl.ContainerSpec(image="registry.example/me/mapped:1", args=[text])


@dsl.component(base_image="python:3.11", target_image="registry.example/me/code:1")
def in_an_image(n: int) -> int:
    return n


@dsl.component
def lines_of(text: str, made: Output[Dataset]):
    with open(made.path, "w") as file:
        file.write(text)


@dsl.component
def joined(data: Input[Dataset], lines: int, kind: dict) -> str:
    return f"{open(data.path).read().split()} {lines} {kind}"


@dsl.component
def variables() -> str:
    import os

    return f"{os.environ['FIRST']} {os.environ.get('ZEROFLOW_TOKEN')} {os.environ.get('ZEROFLOW_DATABASE_URL')}"


@expect(outputs={"concatenated": {"text": "x-y z"}})
@dsl.pipeline(name="concat-placeholder")
def concat_placeholder():
    concatenated(a="x", b="y z")


@expect(outputs={"perhaps": {"text": "--name ada"}, "perhaps-2": {"text": "--anonymous"}})
@dsl.pipeline(name="if-present-placeholder")
def if_present_placeholder():
    perhaps(name="ada")
    perhaps()


@expect(outputs={"joined": {"Output": "['a', 'b'] 2 {'a': [1, True]}"}})
@dsl.pipeline(name="command-with-artifacts-and-typed-outputs")
def command_with_artifacts_and_typed_outputs():
    made = counted(data=lines_of(text="b\na\n").outputs["made"])
    joined(data=made.outputs["made"], lines=made.outputs["lines"], kind=made.outputs["kind"])


@expect("FAILED", error="exit code 7", arguments={"code": 7})
@dsl.pipeline(name="exit-code")
def exit_code(code: int):
    exits(code=code)


@expect("FAILED", error="there is no program 'no-such-program-anywhere' on this machine")
@dsl.pipeline(name="program-that-is-not-there")
def program_that_is_not_there():
    absent_program()


@expect("REFUSED", error="zeroflow images map registry.example/me/tool:1 DIRECTORY -- COMMAND")
@dsl.pipeline(name="image-alone")
def image_that_is_not_mapped():
    image_alone()


@expect(outputs={"mapped-image": {"text": "from the mapped image"}})
@dsl.pipeline(name="mapped-image")
def image_that_is_mapped():
    mapped_image()


@expect(outputs={"in-an-image": {"Output": 42}}, arguments={"n": 21})
@dsl.pipeline(name="code-in-a-mapped-image")
def code_in_a_mapped_image(n: int):
    in_an_image(n=n)


@expect(outputs={"variables": {"Output": "set None None"}})
@dsl.pipeline(name="own-environment-variables")
def own_environment_variables():
    variables().set_env_variable("FIRST", "set")
