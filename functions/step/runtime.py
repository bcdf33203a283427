"""A component's own image, and the platform's runtime in it: what makes a step of a command that knows nothing of us.

The platform's image of steps holds a Python of its own with all that it needs in one folder. A first container of the
pod copies the folder to a volume of the pod, and the step's container has the volume at the same place: there
`zeroflow.functions.step.job` runs by that Python, and the component by its image's. A KFP launcher comes into its
pods the same way. The image needs a GNU C library; a component of Python needs a `python3`.
"""

from typing import Any

from zeroflow.images import INSIDE

RUNTIME = "/opt/zeroflow"
"""Where the folder is in the platform's image (infra/images/Dockerfile), and in the step's container."""
PYTHON = f"{RUNTIME}/env/bin/python"
SCRATCH = f"{RUNTIME}/scratch"
VOLUME, COPIED_TO = "zeroflow-runtime", "/zeroflow-runtime"
COPY = f"cp -a {RUNTIME}/. {COPIED_TO}/ && mkdir -m 1777 -p {COPIED_TO}/scratch"


def brought_into(pod: dict[str, Any], image: str, platform_image: str) -> dict[str, Any]:
    """Return the pod of a step with the step's container in its own image."""
    (container,) = pod["containers"]
    own = {
        **container,
        "image": image,
        "command": [PYTHON, *container["command"][1:]],
        "env": [
            *(variable for variable in container["env"] if variable["name"] != "ZEROFLOW_SCRATCH"),
            {"name": "ZEROFLOW_SCRATCH", "value": SCRATCH},
            {"name": INSIDE, "value": image},
        ],
        "volumeMounts": [*container.get("volumeMounts", ()), {"name": VOLUME, "mountPath": RUNTIME}],
    }
    copying = {
        "name": VOLUME,
        "image": platform_image,
        "command": ["sh", "-c", COPY],
        "volumeMounts": [{"name": VOLUME, "mountPath": COPIED_TO}],
    }
    if "imagePullPolicy" in container:
        copying["imagePullPolicy"] = container["imagePullPolicy"]
    return {
        **pod,
        "initContainers": [copying, *pod.get("initContainers", ())],
        "containers": [own],
        "volumes": [*pod.get("volumes", ()), {"name": VOLUME, "emptyDir": {}}],
    }
