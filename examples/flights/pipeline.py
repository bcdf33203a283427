"""Will a flight arrive more than 15 minutes late? A plain KFP pipeline: nothing in it knows Zeroflow.

ingest -> features -> train -> evaluate: reads every month that has arrived so far, joins hourly weather and the planes'
age, trains gradient boosting on all but the newest days, and compares it on those days with the model that is
registered now. Only a model that is not worse is marked for registration (`register_as` in the Model's metadata).
"""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import Dataset, Input, Metrics, Model, Output


@dsl.component
def ingest(
    platform: str, newest: str, flights: Output[Dataset], weather: Output[Dataset], planes: Output[Dataset]
) -> int:
    """Fetch the flights of every month up to the newest file, the weather and the planes from the object store."""
    import json
    from urllib.request import urlopen

    import pandas as pd

    with urlopen(f"{platform}/objects/data/?prefix=flights/") as answer:
        arrived = sorted(found["uri"] for found in json.load(answer)["objects"])
    used = [uri for uri in arrived if uri <= newest]
    months = [pd.read_csv(uri.replace("store://", f"{platform}/objects/")) for uri in used]
    together = pd.concat(months, ignore_index=True)
    together.to_csv(flights.path, index=False)
    flights.metadata["sources"] = used
    for name, output in (("weather", weather), ("planes", planes)):
        with urlopen(f"{platform}/objects/data/reference/{name}.csv") as answer, open(output.path, "wb") as file:
            file.write(answer.read())
    print(f"{len(together)} flights from {used}")
    return len(together)


@dsl.component
def features(
    flights: Input[Dataset], weather: Input[Dataset], planes: Input[Dataset], table: Output[Dataset]
) -> NamedTuple("Counts", [("rows", int), ("late_share", float)]):
    """Join what is known before departure: schedule, weather at the origin, age and size of the plane."""
    import pandas as pd

    raw = pd.read_csv(flights.path).dropna(subset=["arr_delay"])
    hourly = pd.read_csv(weather.path).drop(columns=["year", "month", "day", "hour", "wind_gust"])
    fleet = pd.read_csv(planes.path).rename(columns={"year": "built"})[["tailnum", "built", "seats"]]
    joined = raw.merge(hourly, on=["origin", "time_hour"], how="left").merge(fleet, on="tailnum", how="left")
    when = pd.to_datetime(joined["time_hour"])
    out = pd.DataFrame(
        {
            "date": pd.to_datetime(joined[["year", "month", "day"]]).dt.strftime("%Y-%m-%d"),
            "hour": joined["hour"] + joined["minute"] / 60,
            "weekday": when.dt.dayofweek,
            "distance": joined["distance"],
            "carrier": joined["carrier"].map(lambda code: sum(ord(c) * 37**i for i, c in enumerate(code)) % 997),
            "origin": joined["origin"].map({"EWR": 0, "JFK": 1, "LGA": 2}),
            "dest": joined["dest"].map(lambda code: sum(ord(c) * 37**i for i, c in enumerate(code)) % 9973),
            "temp": joined["temp"],
            "dewp": joined["dewp"],
            "humid": joined["humid"],
            "wind_speed": joined["wind_speed"],
            "precip": joined["precip"],
            "pressure": joined["pressure"],
            "visib": joined["visib"],
            "plane_age": joined["year"] - joined["built"],
            "seats": joined["seats"],
            "late": (joined["arr_delay"] > 15).astype(int),
        }
    )
    out.to_csv(table.path, index=False)
    print(f"{len(out)} flights, {out['late'].mean():.1%} late")
    return (len(out), float(out["late"].mean()))


@dsl.component
def train(table: Input[Dataset], newest_days: int, model: Output[Model], test: Output[Dataset]) -> int:
    """Fit on all but the newest days, which become the test set."""
    import joblib
    import pandas as pd
    from sklearn.ensemble import HistGradientBoostingClassifier

    data = pd.read_csv(table.path)
    days = sorted(data["date"].unique())
    held_out = data["date"].isin(days[-newest_days:])
    columns = [name for name in data.columns if name not in ("date", "late")]
    classifier = HistGradientBoostingClassifier(max_iter=120, learning_rate=0.08, l2_regularization=1.0, random_state=0)
    classifier.fit(data.loc[~held_out, columns], data.loc[~held_out, "late"])
    joblib.dump(classifier, model.path)
    model.metadata["framework"] = "sklearn"
    data[held_out].to_csv(test.path, index=False)
    print(f"trained on {int((~held_out).sum())} flights of {len(days) - newest_days} days")
    return int((~held_out).sum())


@dsl.component
def evaluate(
    platform: str,
    registered_name: str,
    candidate: Input[Model],
    test: Input[Dataset],
    metrics: Output[Metrics],
    approved_model: Output[Model],
) -> NamedTuple("Verdict", [("auc", float), ("brier", float), ("champion_auc", float), ("approved", bool)]):
    """Compare the candidate on the newest days with the model that is registered now; approve it unless it is worse."""
    import io
    import json
    import shutil
    from urllib.error import HTTPError
    from urllib.request import urlopen

    import joblib
    import pandas as pd
    from sklearn.metrics import brier_score_loss, roc_auc_score

    data = pd.read_csv(test.path)
    x, y = data.drop(columns=["date", "late"]), data["late"]

    def score(model) -> tuple[float, float]:
        late = model.predict_proba(x)[:, 1]
        return float(roc_auc_score(y, late)), float(brier_score_loss(y, late))

    def champion():
        registry = f"{platform}/api/model_registry/v1alpha3"
        try:
            with urlopen(f"{registry}/registered_model?name={registered_name}") as answer:
                found = json.load(answer)["id"]
        except HTTPError as error:
            if error.code == 404:
                return None
            raise
        newest = "orderBy=CREATE_TIME&sortOrder=DESC&pageSize=1"
        with urlopen(f"{registry}/registered_models/{found}/versions?{newest}") as answer:
            version = json.load(answer)["items"][0]
        with urlopen(f"{registry}/model_versions/{version['id']}/artifacts") as answer:
            uri = next(item["uri"] for item in json.load(answer)["items"] if item["artifactType"] == "model-artifact")
        with urlopen(uri.replace("store://", f"{platform}/objects/")) as answer:
            return joblib.load(io.BytesIO(answer.read()))

    auc, brier = score(joblib.load(candidate.path))
    incumbent = champion()
    champion_auc = score(incumbent)[0] if incumbent is not None else 0.0
    verdict = auc >= champion_auc
    for name, value in (("auc", auc), ("brier", brier), ("champion_auc", champion_auc)):
        metrics.log_metric(name, round(value, 4))
    shutil.copyfile(candidate.path, approved_model.path)
    approved_model.metadata.update(candidate.metadata, auc=round(auc, 4), brier=round(brier, 4))
    if verdict:
        approved_model.metadata["register_as"] = registered_name
    print(f"candidate AUC {auc:.4f}, registered model {champion_auc:.4f}: {'approved' if verdict else 'refused'}")
    return (auc, brier, champion_auc, verdict)


@dsl.pipeline(name="flight-delays", description="Predict arrival delays of more than 15 minutes, month by month.")
def flight_delays(
    newest: str,
    platform: str = "http://localhost:8080",
    registered_name: str = "flight-delays",
    newest_days: int = 10,
) -> NamedTuple("Verdict", [("auc", float), ("champion_auc", float), ("approved", bool)]):
    raw = ingest(platform=platform, newest=newest)
    joined = features(flights=raw.outputs["flights"], weather=raw.outputs["weather"], planes=raw.outputs["planes"])
    trained = train(table=joined.outputs["table"], newest_days=newest_days)
    judged = evaluate(
        platform=platform,
        registered_name=registered_name,
        candidate=trained.outputs["model"],
        test=trained.outputs["test"],
    )
    verdict = NamedTuple("Verdict", [("auc", float), ("champion_auc", float), ("approved", bool)])
    return verdict(*(judged.outputs[name] for name in ("auc", "champion_auc", "approved")))
