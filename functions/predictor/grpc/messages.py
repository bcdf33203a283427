"""The messages of service `inference.GRPCInferenceService`, as classes of the protobuf library.

They are described here and built when the first gRPC request comes: no generated code, which would tie us to a version
of the library. Where KServe and Triton differ (the repository's messages), the fields of both are there.

Source: Open Inference Protocol, open_inference_grpc.proto; KServe, grpc_predict_v2.proto (RepositoryModelLoad/Unload);
Triton, grpc_service.proto (RepositoryIndex, repository_name and parameters).
"""

import re
from functools import cache
from types import SimpleNamespace
from typing import Any

DESCRIPTION = """
ServerLiveRequest
ServerLiveResponse: bool live=1
ServerReadyRequest
ServerReadyResponse: bool ready=1
ModelReadyRequest: string name=1, string version=2
ModelReadyResponse: bool ready=1
ServerMetadataRequest
ServerMetadataResponse: string name=1, string version=2, repeated string extensions=3
ModelMetadataRequest: string name=1, string version=2
TensorMetadata: string name=1, string datatype=2, repeated int64 shape=3
ModelMetadataResponse: string name=1, repeated string versions=2, string platform=3, repeated TensorMetadata inputs=4,
 repeated TensorMetadata outputs=5, map string properties=6
InferParameter: oneof bool bool_param=1, oneof int64 int64_param=2, oneof string string_param=3,
 oneof double double_param=4, oneof uint64 uint64_param=5
InferTensorContents: repeated bool bool_contents=1, repeated int32 int_contents=2, repeated int64 int64_contents=3,
 repeated uint32 uint_contents=4, repeated uint64 uint64_contents=5, repeated float fp32_contents=6,
 repeated double fp64_contents=7, repeated bytes bytes_contents=8
InferInputTensor: string name=1, string datatype=2, repeated int64 shape=3, map InferParameter parameters=4,
 InferTensorContents contents=5
InferRequestedOutputTensor: string name=1, map InferParameter parameters=2
ModelInferRequest: string model_name=1, string model_version=2, string id=3, map InferParameter parameters=4,
 repeated InferInputTensor inputs=5, repeated InferRequestedOutputTensor outputs=6, repeated bytes raw_input_contents=7
InferOutputTensor: string name=1, string datatype=2, repeated int64 shape=3, map InferParameter parameters=4,
 InferTensorContents contents=5
ModelInferResponse: string model_name=1, string model_version=2, string id=3, map InferParameter parameters=4,
 repeated InferOutputTensor outputs=5, repeated bytes raw_output_contents=6
RepositoryIndexRequest: string repository_name=1, bool ready=2
ModelIndex: string name=1, string version=2, string state=3, string reason=4
RepositoryIndexResponse: repeated ModelIndex models=1
RepositoryModelLoadRequest: string first=1, string second=2
RepositoryModelLoadResponse: string model_name=1, bool isLoaded=2
RepositoryModelUnloadRequest: string first=1, string second=2
RepositoryModelUnloadResponse: string model_name=1, bool isUnloaded=2
"""
PACKAGE = "zeroflow.oip"
"""Not `inference`: a model's code may bring its own descriptions of that package into the process."""
_FIELD = re.compile(r"(?:(repeated|map|oneof) )?(\w+) (\w+)=(\d+)")


@cache
def classes() -> Any:
    """Return the message classes by name."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file: Any = descriptor_pb2.FileDescriptorProto(name="zeroflow/oip.proto", package=PACKAGE, syntax="proto3")
    for line in DESCRIPTION.replace("\n ", " ").strip().splitlines():
        name, _, fields = line.partition(":")
        message = file.message_type.add(name=name)
        for found in _FIELD.finditer(fields):
            _add(message, *found.groups())
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    described = pool.FindFileByName(file.name).message_types_by_name
    return SimpleNamespace(**{name: message_factory.GetMessageClass(each) for name, each in described.items()})


def _add(message: Any, label: str | None, kind: str, name: str, number: str) -> None:
    field = message.field.add(name=name, number=int(number), label=3 if label in ("repeated", "map") else 1)
    if label == "oneof":
        if not message.oneof_decl:
            message.oneof_decl.add(name="choice")
        field.oneof_index = 0
    if label == "map":
        entry = message.nested_type.add(name="".join(part.title() for part in name.split("_")) + "Entry")
        entry.options.map_entry = True
        _typed(entry.field.add(name="key", number=1, label=1), "string")
        _typed(entry.field.add(name="value", number=2, label=1), kind)
        field.type, field.type_name = field.TYPE_MESSAGE, f".{PACKAGE}.{message.name}.{entry.name}"
    else:
        _typed(field, kind)


def _typed(field: Any, kind: str) -> None:
    scalar = getattr(field, f"TYPE_{kind.upper()}", None)
    if scalar is not None:
        field.type = scalar
    else:
        field.type, field.type_name = field.TYPE_MESSAGE, f".{PACKAGE}.{kind}"
