"""What a process that compiled models are forked from does once: a session over a tree of one node.

ONNX Runtime registers thousands of operators for its first session. Forked processes share that, and their first one
is made in less time. Nothing that a thread would have to keep up is left behind: a session of one thread starts none.
"""

import numpy as np

from zeroflow.models.compiled.leaves import Nodes, leaf_finder

_leaf = Nodes(
    feature=np.zeros(1, dtype=np.int64),
    threshold=np.zeros(1),
    left=np.full(1, -1),
    right=np.full(1, -1),
    missing_left=np.zeros(1, dtype=np.int64),
    values=np.zeros((1, 1)),
)
leaf_finder([_leaf], 1, np.float32)(np.zeros((1, 1)))
