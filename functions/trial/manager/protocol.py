"""Katib's messages of the Suggestion and EarlyStopping services, made from a table: field, number, type.

`*` is repeated; an enum is an int32 on the wire; a map is a repeated message of key and value.
Source: Katib api.v1.beta1 (api.proto).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

PACKAGE = "zeroflow.katib"
NAMED = {"name": (1, "string"), "value": (2, "string")}
FIELDS: Mapping[str, Mapping[str, tuple[int, str]]] = {
    "Named": NAMED,
    "Entry": {"key": (1, "string"), "value": (2, "string")},
    "Experiment": {"name": (1, "string"), "spec": (2, "ExperimentSpec")},
    "ExperimentSpec": {
        "parameter_specs": (1, "ParameterSpecs"),
        "objective": (2, "Objective"),
        "algorithm": (3, "Algorithm"),
        "early_stopping": (4, "Algorithm"),
        "parallel_trial_count": (5, "int32"),
        "max_trial_count": (6, "int32"),
        "nas_config": (7, "Nas"),
    },
    "ParameterSpecs": {"parameters": (1, "Parameter*")},
    "Parameter": {"name": (1, "string"), "parameter_type": (2, "int32"), "feasible_space": (3, "Space")},
    "Space": {
        "max": (1, "string"),
        "min": (2, "string"),
        "list": (3, "string*"),
        "step": (4, "string"),
        "distribution": (5, "int32"),
    },
    "Objective": {
        "type": (1, "int32"),
        "goal": (2, "double"),
        "objective_metric_name": (3, "string"),
        "additional_metric_names": (4, "string*"),
    },
    "Algorithm": {"algorithm_name": (1, "string"), "algorithm_settings": (2, "Named*")},
    "Nas": {"graph_config": (1, "Graph"), "operations": (2, "Operations")},
    "Graph": {"num_layers": (1, "int32"), "input_sizes": (2, "int32*"), "output_sizes": (3, "int32*")},
    "Operations": {"operation": (1, "Operation*")},
    "Operation": {"operation_type": (1, "string"), "parameter_specs": (2, "ParameterSpecs")},
    "Trial": {"name": (1, "string"), "spec": (2, "TrialSpec"), "status": (3, "TrialStatus")},
    "TrialSpec": {"objective": (2, "Objective"), "parameter_assignments": (3, "Assigned"), "labels": (4, "Entry*")},
    "Assigned": {"assignments": (1, "Named*")},
    "TrialStatus": {"condition": (3, "int32"), "observation": (4, "Observation")},
    "Observation": {"metrics": (1, "Named*")},
    "GetSuggestionsRequest": {
        "experiment": (1, "Experiment"),
        "trials": (2, "Trial*"),
        "current_request_number": (4, "int32"),
        "total_request_number": (5, "int32"),
    },
    "Suggested": {"assignments": (1, "Named*"), "trial_name": (2, "string"), "labels": (3, "Entry*")},
    "GetSuggestionsReply": {"parameter_assignments": (1, "Suggested*"), "algorithm": (2, "Algorithm")},
    "ValidateAlgorithmSettingsRequest": {"experiment": (1, "Experiment")},
    "GetEarlyStoppingRulesRequest": {"experiment": (1, "Experiment"), "trials": (2, "Trial*")},
    "Rule": {
        "name": (1, "string"),
        "value": (2, "string"),
        "comparison": (3, "int32"),
        "start_step": (4, "int32"),
    },
    "GetEarlyStoppingRulesReply": {"early_stopping_rules": (1, "Rule*")},
    "ValidateEarlyStoppingSettingsRequest": {"early_stopping": (1, "Algorithm")},
}


@cache
def messages() -> Mapping[str, Any]:
    """Return the class of every message by name."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    field = descriptor_pb2.FieldDescriptorProto
    scalars = {"string": field.TYPE_STRING, "int32": field.TYPE_INT32, "double": field.TYPE_DOUBLE}
    file = descriptor_pb2.FileDescriptorProto(name="zeroflow/katib.proto", package=PACKAGE, syntax="proto3")
    for message, fields in FIELDS.items():
        described = file.message_type.add(name=message)
        for name, (number, written) in fields.items():
            kind = written.rstrip("*")
            added = described.field.add(name=name, number=number, type=scalars.get(kind, field.TYPE_MESSAGE))
            added.label = field.LABEL_REPEATED if written.endswith("*") else field.LABEL_OPTIONAL
            if kind not in scalars:
                added.type_name = f".{PACKAGE}.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = message_factory.GetMessageClassesForFiles([file.name], pool)
    return {name.rpartition(".")[2]: cls for name, cls in found.items()}
