"""`python submit.py HOST FOLDER MODULE...`: compile pipelines, submit each, note what became of it in submitted.jsonl.

Runs in an environment that holds the official SDK and nothing of ours.
"""

import dataclasses
import importlib
import json
import sys
import warnings
from pathlib import Path

warnings.simplefilter("ignore")
sys.path.insert(0, str(Path(__file__).parent.parent))

from kfp import Client, compiler  # noqa: E402
from kfp_server_api import ApiException  # noqa: E402

from corpus.expecting import CORPUS  # noqa: E402 - the SDK warns while it is imported


def main(host: str, folder: Path, modules: list[str]) -> None:
    for module in modules:
        importlib.import_module(f"corpus.{module}")
    client = Client(host=host)
    notes = (folder / "submitted.jsonl").open("w")
    for name, expected in CORPUS.items():
        package = folder / f"{name}.yaml"
        compiler.Compiler().compile(expected.pipeline, str(package))
        arguments = {
            key: value.replace("{tmp}", str(folder)) if isinstance(value, str) else value
            for key, value in expected.arguments.items()
        }
        said = {**dataclasses.asdict(dataclasses.replace(expected, pipeline=None)), "name": name}
        try:
            said["run_id"] = client.create_run_from_pipeline_package(str(package), arguments=arguments).run_id
        except ApiException as error:
            said["refused"] = json.loads(error.body)["message"]
        print(json.dumps(said), file=notes, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
