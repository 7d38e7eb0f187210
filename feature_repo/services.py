"""A service for each model version: the features that the model of a domain and run works with."""

from feast import FeatureService
from feature_views import item_embedding, metric_views
from sources import PUBLISHED

services = {
    name: FeatureService(
        name=name,
        features=[item_embedding, metric_views[tags["domain"]]],
        tags=tags,
    )
    for name, tags in PUBLISHED["services"].items()
}
# Feast collects a module's own names.
globals().update(services)
