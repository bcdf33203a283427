"""Trees and ensembles of trees: ONNX Runtime finds the leaves, numpy adds their values up as scikit-learn does.

ONNX keeps values in float32, which would change answers in the last digits and break ties between classes another
way. So the graph that is built here answers only *which leaf* of each tree a row falls into - a small integer,
exact in float32 - and the values of those leaves are added in float64, in scikit-learn's order. Which leaf is exact,
too: trees compare float32 columns, for which a float64 threshold and the next float32 below it decide alike; those
of histogram boosting compare float64 columns and are given as doubles.

Source: ONNX-ML operators, TreeEnsembleRegressor (versions 1 and 3); scikit-learn 1.5 to 1.9, tree/_tree.pyx,
ensemble/_forest.py, _gb.py, _hist_gradient_boosting. Measured on one row, 100 trees: 13 us instead of 4,000-8,500.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from zeroflow.models.compiled.leaves import Nodes, leaf_finder

Array = np.ndarray[Any, Any]
Method = Callable[[Array], Array]

MAX_NODES = 4_000_000
"""Beyond this the graph takes longer to build than a cold start should; float32 holds their numbers exactly."""


def head_kind(model: Any) -> str | None:
    """Return which of HEADS a model is; None when it is not one of those known here."""
    from sklearn import ensemble, tree

    if getattr(model, "n_outputs_", 1) != 1 and hasattr(model, "classes_"):
        return None  # it answers a list of arrays
    kinds = {
        "tree classifier": (tree.DecisionTreeClassifier, tree.ExtraTreeClassifier),
        "tree regressor": (tree.DecisionTreeRegressor, tree.ExtraTreeRegressor),
        "forest classifier": (ensemble.RandomForestClassifier, ensemble.ExtraTreesClassifier),
        "forest regressor": (ensemble.RandomForestRegressor, ensemble.ExtraTreesRegressor),
        "boosting": (ensemble.GradientBoostingClassifier, ensemble.GradientBoostingRegressor),
        "histogram boosting": (ensemble.HistGradientBoostingClassifier, ensemble.HistGradientBoostingRegressor),
    }
    return next((name for name, classes in kinds.items() if type(model) in classes), None)


def _classifier(model: Any, probabilities: Method) -> Mapping[str, Method]:
    classes = model.classes_
    return {
        "predict": lambda rows: classes.take(probabilities(rows).argmax(axis=1), axis=0),
        "predict_proba": probabilities,
    }


def _regressor(values: Method, outputs: int = 1) -> Mapping[str, Method]:
    return {"predict": values if outputs > 1 else lambda rows: values(rows)[:, 0]}


def _tree(model: Any) -> Method:
    return _mean([model.tree_], model.n_features_in_)


def _forest(model: Any) -> Method:
    return _mean([each.tree_ for each in model.estimators_], model.n_features_in_)


def _mean(trees: Sequence[Any], width: int) -> Method:
    nodes = [_nodes(each) for each in trees]
    total, count = sums(nodes, width), len(nodes)
    return lambda rows: total(rows) / count


def _boosting(model: Any) -> Mapping[str, Method] | None:
    from sklearn.dummy import DummyClassifier, DummyRegressor

    if model.init_ != "zero" and type(model.init_) not in (DummyClassifier, DummyRegressor):
        return None
    base = model._raw_predict_init(np.zeros((1, model.n_features_in_), dtype=np.float32))
    nodes = [_nodes(each.tree_, model.learning_rate) for stage in model.estimators_ for each in stage]
    groups = model.estimators_.shape[1]
    added = sums(nodes, model.n_features_in_, groups, base)
    if not hasattr(model, "classes_"):
        return _regressor(added)
    return _by_loss(model, added, lambda raw: raw >= 0)


def _histogram_boosting(model: Any) -> Mapping[str, Method] | None:
    if model.is_categorical_ is not None and np.any(model.is_categorical_):
        return None  # these split on sets of categories
    nodes = []
    for predictors in model._predictors:
        for predictor in predictors:
            table = predictor.nodes
            if table["is_categorical"].any():
                return None
            leaf = table["is_leaf"].astype(bool)
            nodes.append(
                Nodes(
                    feature=table["feature_idx"],
                    threshold=table["num_threshold"],
                    left=np.where(leaf, -1, table["left"].astype(np.int64)),
                    right=table["right"].astype(np.int64),
                    missing_left=table["missing_go_to_left"],
                    values=table["value"].reshape(-1, 1),
                )
            )
    groups = model.n_trees_per_iteration_
    raw = sums(nodes, model.n_features_in_, groups, model._baseline_prediction, np.float64)
    if hasattr(model, "classes_"):
        return _by_loss(model, raw, lambda found: found > 0)
    inverse = model._loss.link.inverse
    return {"predict": lambda rows: inverse(raw(rows).ravel())}


def _by_loss(model: Any, raw: Method, positive: Method) -> Mapping[str, Method]:
    classes = model.classes_

    def predict(rows: Array) -> Array:
        found = raw(rows)
        if found.shape[1] == 1:
            return np.asarray(classes[positive(found.ravel()).astype(int)])
        return np.asarray(classes[found.argmax(axis=1)])

    def predict_proba(rows: Array) -> Array:
        return np.asarray(model._loss.predict_proba(np.ascontiguousarray(raw(rows))))

    return {"predict": predict, "predict_proba": predict_proba}


def _nodes(tree: Any, scale: float = 1.0) -> Nodes:
    return Nodes(
        feature=tree.feature,
        threshold=tree.threshold,
        left=tree.children_left,
        right=tree.children_right,
        missing_left=tree.missing_go_to_left,
        values=(tree.value[:, 0, :] if tree.value.shape[1] == 1 else tree.value[:, :, 0]) * scale,
    )


def sums(
    trees: Sequence[Nodes], width: int, count: int = 1, base: Any = None, kind: Any = np.float32, bounded: bool = True
) -> Method:
    """Return the sums over trees: all into the outputs of their leaves, or tree i into output i modulo `count`.

    `kind` is what columns are compared in; `bounded` refuses rows with larger numbers, which else are infinite.
    """
    sizes = [len(each.left) for each in trees]
    if sum(sizes) > MAX_NODES:
        raise ValueError(f"it has {sum(sizes)} nodes, more than {MAX_NODES}")
    find = leaf_finder(trees, width, kind, bounded)
    values = np.concatenate([each.values for each in trees])
    stages = len(trees) // count

    def total(rows: Array) -> Array:
        chosen = values.take(find(rows).T.astype(np.intp), axis=0)  # (trees, rows, outputs)
        if count > 1:
            chosen = chosen[:, :, 0].reshape(stages, count, -1).transpose(0, 2, 1)
        if base is not None:
            chosen = np.concatenate([np.broadcast_to(base, (1, *chosen.shape[1:])), chosen])
        # Not sum(): for a single row it adds in pairs, and a tie between classes could break another way.
        result: Array = chosen.cumsum(axis=0)[-1]
        return result

    return total


HEADS: Mapping[str, Callable[[Any], Mapping[str, Method] | None]] = {
    "tree classifier": lambda model: _classifier(model, _tree(model)),
    "tree regressor": lambda model: _regressor(_tree(model), model.n_outputs_),
    "forest classifier": lambda model: _classifier(model, _forest(model)),
    "forest regressor": lambda model: _regressor(_forest(model), model.n_outputs_),
    "boosting": _boosting,
    "histogram boosting": _histogram_boosting,
}
PLAIN = ("tree classifier", "tree regressor", "forest classifier", "forest regressor")
"""Those that are made of a model's numbers alone; the others ask parts of scikit-learn for a loss."""
