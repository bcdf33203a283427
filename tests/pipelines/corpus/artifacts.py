"""Artifacts: types, metadata, lists, what loops and branches give, custom places, importers."""

from typing import List, NamedTuple, Optional

from kfp import dsl
from kfp.dsl import (
    HTML,
    Artifact,
    ClassificationMetrics,
    Dataset,
    Input,
    InputPath,
    Markdown,
    Metrics,
    Model,
    Output,
    OutputPath,
    SlicedClassificationMetrics,
)

from corpus.expecting import expect


@dsl.component
def dataset(text: str, made: Output[Dataset]):
    made.metadata["length"] = len(text)
    with open(made.path, "w") as file:
        file.write(text)


@dsl.component
def read(data: Input[Dataset]) -> str:
    with open(data.path) as file:
        return f"{file.read()}/{data.metadata['length']}/{type(data).__name__}"


@dsl.component
def read_all(data: Input[List[Dataset]]) -> str:
    return ",".join(open(one.path).read() for one in data)


@dsl.component
def returned() -> Dataset:
    made = Dataset(uri=dsl.get_uri("mine"), metadata={"length": 4})
    with open(made.path, "w") as file:
        file.write("mine")
    return made


@dsl.component
def reports(
    metrics: Output[Metrics],
    classes: Output[ClassificationMetrics],
    sliced: Output[SlicedClassificationMetrics],
    page: Output[HTML],
    text: Output[Markdown],
    any_kind: Output[Artifact],
):
    metrics.log_metric("accuracy", 0.5)
    classes.log_roc_curve([0.0, 1.0], [0.0, 1.0], [1.0, 0.0])
    classes.log_confusion_matrix(["a", "b"], [[1, 2], [3, 4]])
    sliced.metadata["slices"] = {"all": {"auc": 0.5}}
    with open(page.path, "w") as file:
        file.write("<b>hello</b>")
    with open(text.path, "w") as file:
        file.write("# hello")
    any_kind.metadata["nested"] = {"a": [1, None]}


@dsl.component
def metadata_of(metrics: Input[Metrics], any_kind: Input[Artifact]) -> str:
    return f"{metrics.metadata['accuracy']}/{any_kind.metadata['nested']['a'][0]}"


@dsl.component
def old_style(out: OutputPath("Dataset"), number: OutputPath(int)):
    with open(out, "w") as file:
        file.write("old")
    with open(number, "w") as file:
        file.write("5")


@dsl.component
def old_style_reader(data: InputPath("Dataset"), number: int) -> str:
    return open(data).read() + str(number)


@dsl.component
def maybe(data: Optional[Input[Dataset]] = None) -> str:
    return "nothing" if data is None else "something"


@dsl.component
def elsewhere(made: Output[Dataset]):
    made.custom_path = "own/place.txt"
    import os

    os.makedirs("own", exist_ok=True)
    with open("own/place.txt", "w") as file:
        file.write("custom")
    made.metadata["length"] = 6


@dsl.component
def model(kind: str, made: Output[Model]):
    with open(made.path, "w") as file:
        file.write(kind)


@dsl.component
def kind_of(given: Input[Model]) -> str:
    return open(given.path).read()


@dsl.component
def uri_of(data: Input[Dataset]) -> str:
    return f"{data.uri} {data.metadata.get('owner')} {data.metadata.get('n')}"


@dsl.component
def directory(made: Output[Dataset]):
    import os

    os.makedirs(os.path.join(made.path, "sub"))
    for name in ("a", "sub/b"):
        with open(os.path.join(made.path, name), "w") as file:
            file.write(name)
    made.metadata["length"] = 2


@dsl.component
def files_of(data: Input[Dataset]) -> str:
    import os

    return ",".join(
        sorted(os.path.relpath(os.path.join(at, f), data.path) for at, _, fs in os.walk(data.path) for f in fs)
    )


@dsl.component
def passed_on(data: Input[Dataset]) -> Dataset:
    return data


@dsl.component
def two() -> NamedTuple("Outputs", [("first", Dataset), ("count", int)]):
    made = Dataset(uri=dsl.get_uri("first"), metadata={"length": 1})
    with open(made.path, "w") as file:
        file.write("1")
    return (made, 2)


@dsl.component
def missing_file(made: Output[Dataset]):
    pass


@dsl.component
def exists(data: Input[Dataset]) -> bool:
    import os

    return os.path.exists(data.path)


@expect(outputs={"read": {"Output": "some text/9/Dataset"}})
@dsl.pipeline(name="artifact-with-metadata")
def artifact_with_metadata():
    read(data=dataset(text="some text").outputs["made"])


@expect(outputs={"read": {"Output": "mine/4/Dataset"}})
@dsl.pipeline(name="returned-artifact-at-a-uri")
def returned_artifact_at_a_uri():
    read(data=returned().output)


@expect(outputs={"metadata-of": {"Output": "0.5/1"}})
@dsl.pipeline(name="every-artifact-type")
def every_artifact_type():
    made = reports()
    metadata_of(metrics=made.outputs["metrics"], any_kind=made.outputs["any_kind"])


@expect(outputs={"old-style-reader": {"Output": "old5"}})
@dsl.pipeline(name="input-path-and-output-path")
def input_path_and_output_path():
    made = old_style()
    old_style_reader(data=made.outputs["out"], number=made.outputs["number"])


@expect(outputs={"maybe": {"Output": "nothing"}})
@dsl.pipeline(name="optional-artifact")
def optional_artifact():
    maybe()


@expect(outputs={"read": {"Output": "custom/6/Dataset"}})
@dsl.pipeline(name="custom-artifact-path")
def custom_artifact_path():
    read(data=elsewhere().outputs["made"])


@expect(outputs={"read-all": {"Output": "a,b,c"}})
@dsl.pipeline(name="collected-artifacts")
def collected_artifacts():
    with dsl.ParallelFor(["a", "b", "c"]) as item:
        made = dataset(text=item)
    read_all(data=dsl.Collected(made.outputs["made"]))


@expect(outputs={"read-all": {"Output": "aa,ab,ba,bb"}})
@dsl.pipeline(name="collected-artifacts-of-nested-loops")
def collected_artifacts_of_nested_loops():
    @dsl.component
    def both(a: str, b: str, made: Output[Dataset]):
        with open(made.path, "w") as file:
            file.write(a + b)

    with dsl.ParallelFor(["a", "b"]) as a, dsl.ParallelFor(["a", "b"]) as b:
        made = both(a=a, b=b)
    read_all(data=dsl.Collected(made.outputs["made"]))


@dsl.pipeline
def datasets() -> List[Dataset]:
    with dsl.ParallelFor(["a", "b"]) as item:
        made = dataset(text=item)
    return dsl.Collected(made.outputs["made"])


@expect(outputs={"read-all": {"Output": "a,b"}})
@dsl.pipeline(name="loop-over-artifacts")
def loop_over_artifacts():
    with dsl.ParallelFor(datasets().output) as one:
        again = passed_on(data=one)
    read_all(data=dsl.Collected(again.output))


@expect(outputs={"kind-of": {"Output": "tree"}}, arguments={"kind": "tree"})
@dsl.pipeline(name="one-of-artifacts")
def one_of_artifacts(kind: str):
    with dsl.If(kind == "tree"):
        tree = model(kind="tree")
    with dsl.Else():
        line = model(kind="line")
    kind_of(given=dsl.OneOf(tree.outputs["made"], line.outputs["made"]))


@expect(outputs={"uri-of": {"Output": "gs://bucket/key.csv ada 3"}}, arguments={"owner": "ada", "n": 3})
@dsl.pipeline(name="importer-by-reference-with-given-metadata")
def importer_by_reference_with_given_metadata(owner: str, n: int):
    imported = dsl.importer(
        artifact_uri="gs://bucket/key.csv", artifact_class=Dataset, reimport=True, metadata={"owner": owner, "n": n}
    )
    uri_of(data=imported.output)


@expect(
    outputs={"uri-of": {"Output": "oci://registry/org/model:1 None None"}},
    arguments={"uri": "oci://registry/org/model:1"},
)
@dsl.pipeline(name="importer-of-a-model-car")
def importer_of_a_model_car(uri: str):
    uri_of(data=dsl.importer(artifact_uri=uri, artifact_class=Dataset).output)


@expect("FAILED", error="the importer found nothing at store://nowhere/nothing")
@dsl.pipeline(name="importer-of-nothing")
def importer_of_nothing():
    uri_of(data=dsl.importer(artifact_uri="store://nowhere/nothing", artifact_class=Dataset).output)


@expect(outputs={"files-of": {"Output": "a,sub/b"}})
@dsl.pipeline(name="directory-as-an-artifact")
def directory_as_an_artifact():
    files_of(data=directory().outputs["made"])


@expect(outputs={"read": {"Output": "x/1/Dataset"}})
@dsl.pipeline(name="artifact-handed-on")
def artifact_handed_on():
    read(data=passed_on(data=dataset(text="x").outputs["made"]).output)


@expect(outputs={"read": {"Output": "1/1/Dataset"}, "two": {"count": 2}})
@dsl.pipeline(name="artifact-and-parameter-in-one-tuple")
def artifact_and_parameter_in_one_tuple():
    read(data=two().outputs["first"])


@expect(outputs={"exists": {"Output": False}})
@dsl.pipeline(name="artifact-without-a-file")
def artifact_without_a_file():
    exists(data=missing_file().outputs["made"])


@expect(
    outputs={"read": {"Output": "given/5/Dataset"}},
    arguments={"data": {"uri": "store://given/data.txt", "metadata": {"length": 5}}},
)
@dsl.pipeline(name="artifact-input-of-the-pipeline")
def artifact_input_of_the_pipeline(data: Input[Dataset]):
    read(data=data)


@expect(
    outputs={"read-all": {"Output": "given,given"}},
    arguments={"data": ["store://given/data.txt", "store://given/data.txt"]},
)
@dsl.pipeline(name="list-of-artifacts-as-input-of-the-pipeline")
def list_of_artifacts_as_input_of_the_pipeline(data: Input[List[Dataset]]):
    read_all(data=data)


@expect("REFUSED", error="required artifact 'data' is missing")
@dsl.pipeline(name="missing-artifact-input")
def missing_artifact_input(data: Input[Dataset]):
    read(data=data)
