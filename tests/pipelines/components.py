"""A step that really runs lightweight Python components, with kfp's own executor, in this process."""

import json
import warnings
from pathlib import Path
from typing import Any

from zeroflow.artifacts import content


def execute(request: dict[str, Any], store: Path) -> dict[str, Any]:
    """Execute what a task.requested event asks for; return the outcome part of task.finished."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from kfp.dsl.executor import Executor

        data = json.loads(json.dumps(request["data"]))
        given, log = data["executor_input"], store / data["log_uri"].removeprefix("store://")
        log.parent.mkdir(parents=True, exist_ok=True)
        output_file = log.parent / f"{data['task_id']}.json"
        given["outputs"]["outputFile"] = str(output_file)
        uris = {}
        for held in (given["inputs"]["artifacts"], given["outputs"]["artifacts"]):
            for artifacts in held.values():
                for artifact in artifacts["artifacts"]:
                    path = store / artifact["uri"].removeprefix("store://")
                    path.parent.mkdir(parents=True, exist_ok=True)
                    uris[str(path)] = artifact["uri"]
                    artifact["uri"] = str(path)
        args = data["executor"]["args"]
        namespace: dict[str, Any] = {}
        exec(data["executor"]["command"][-1], namespace)
        function = namespace[args[args.index("--function_to_execute") + 1]]
        try:
            Executor(executor_input=given, function_to_execute=function).execute()
        except Exception as error:
            log.write_text(f"Traceback (most recent call last):\n{type(error).__name__}: {error}\n")
            message = f"{type(error).__name__}: {error}"
            return {"state": "FAILED", "exit_code": 1, "error": {"message": message, "reason": "UserError"}}
    log.write_text("done\n")
    written = json.loads(output_file.read_text()) if output_file.is_file() else {}
    artifacts = {key: [_artifact(held["artifacts"][0], uris)] for key, held in written.get("artifacts", {}).items()}
    return {"outputs": {"parameterValues": written.get("parameterValues", {}), "artifacts": artifacts}}


def _artifact(written: dict[str, Any], uris: dict[str, str]) -> dict[str, Any]:
    path = Path(written["uri"])
    found = content.of(path) if path.exists() else None
    return {
        "name": written["name"],
        "uri": uris[written["uri"]],
        "type": written["type"]["schemaTitle"] if "type" in written else "system.Artifact",
        "metadata": written.get("metadata", {}),
        "sha256": found.sha256 if found else None,
        "size_bytes": found.size_bytes if found else None,
    }
